"""`sample`: answers that depend on the seed alone, and a file that can be gone on with after any end."""

import fcntl
import json
import os
import signal

import pytest
import torch
import typer
from commandline import call
from typer.testing import CliRunner

from steersman.assemble import sample as module
from steersman.assemble.sample import run_sample
from steersman.cli.sample import EXAMPLE, lines_of_sample, sample
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError, Preempted, RunLocked, UsageError
from steersman.inference.draw import ATTEMPTS, AnsweringModel, AnswerSlot, answer_group, plan_slots, usable
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Answers, Message, Prompt, to_dict
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling, sample_seed
from steersman.settings.base import check
from steersman.settings.sample import SampleSettings

WORDS = "exercise cricket friend heart mind game story answer question summary".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("model"), "llama", context=64))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Ten prompts of different lengths, one of them twice."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [Prompt(messages=(Message("user", " ".join(WORDS[: i % 4 + 1]) + f" {i}"),)) for i in range(10)]
    path.write_text("".join(json.dumps(to_dict(row)) + "\n" for row in [*rows, rows[3]]))
    return str(path)


def chosen(model, prompts, out, /, **given):
    values = {"model": model, "prompts": {"source": prompts}, "out": str(out), "max_new_tokens": 6, "answers": 3}
    return check(SampleSettings, {**values, **given})


@pytest.fixture(scope="module")
def unbroken(model, prompts, tmp_path_factory):
    """The file of a run that nothing happened to: four prompts at a time."""
    out = tmp_path_factory.mktemp("unbroken") / "answers.jsonl"
    result = run_sample(chosen(model, prompts, out, prompts_at_once=4), quiet=True)
    assert (result.prompts, result.answers, result.left_out) == (10, 30, {"a prompt that came before": 1})
    return out.read_bytes()


def test_a_text_file_is_answered_line_by_line(model, tmp_path):
    (tmp_path / "prompts.txt").write_text("a dog\na cat\n")
    words = ["sample", str(tmp_path / "prompts.txt"), "--model", model, "--out", str(tmp_path / "a.jsonl")]
    assert call([*words, "max_new_tokens=4", "--device", "cpu"]) == 0
    rows = rows_of((tmp_path / "a.jsonl").read_bytes())
    assert [row["prompt"]["text"] for row in rows] == ["a dog", "a cat"]


def rows_of(content: bytes):
    return [json.loads(line) for line in content.splitlines()]


def test_every_answer_says_what_made_it_and_the_file_is_read_without_a_bad_row(unbroken, model, tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(unbroken)
    report = ReadReport()
    rows = list(load_records(str(tmp_path / "answers.jsonl"), kind=Answers, report=report, strict=True))
    assert (len(rows), report.malformed) == (10, 0)
    for row in rows:
        assert isinstance(row, Answers)
        assert len({completion.text for completion in row.completions}) > 1
        for k, completion in enumerate(row.completions):
            assert completion.model == model
            assert completion.sampling == {"temperature": 1.0, "max_new_tokens": 6}
            assert completion.seed in [sample_seed(0, attempt, row.prompt.id, k) for attempt in range(ATTEMPTS)]


@pytest.mark.parametrize("together", [1, 3, 32])
def test_how_many_prompts_are_answered_together_changes_nothing(unbroken, model, prompts, tmp_path, together):
    run_sample(chosen(model, prompts, tmp_path / "a.jsonl", prompts_at_once=together), quiet=True)
    assert rows_of((tmp_path / "a.jsonl").read_bytes()) == rows_of(unbroken)


def test_another_seed_gives_other_answers(unbroken, model, prompts, tmp_path):
    run_sample(chosen(model, prompts, tmp_path / "a.jsonl", seed=1, prompts_at_once=4), quiet=True)
    texts = [
        [[c["text"] for c in row["completions"]] for row in rows_of(content)]
        for content in (unbroken, (tmp_path / "a.jsonl").read_bytes())
    ]
    assert all(one != other for one, other in zip(*texts, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.37, 0.61, 0.999, 1.0])
def test_a_file_cut_off_anywhere_is_gone_on_with_to_the_very_same_bytes(unbroken, model, prompts, tmp_path, share):
    out = tmp_path / "a.jsonl"
    out.write_bytes(unbroken[: int(share * len(unbroken))])
    whole = out.read_bytes().count(b"\n")
    result = run_sample(chosen(model, prompts, out, prompts_at_once=4), quiet=True)
    assert (result.kept, result.prompts) == (whole, 10 - whole)
    assert out.read_bytes() == unbroken


def test_a_stop_signal_ends_it_after_the_rows_in_hand_and_the_same_command_goes_on(
    unbroken, model, prompts, tmp_path, monkeypatch
):
    out = tmp_path / "a.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(module.Progress, "update", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Preempted, match="stopped after 4 of 10 prompts"):
            run_sample(chosen(model, prompts, out, prompts_at_once=4), quiet=True)
    assert out.read_bytes().count(b"\n") == 4
    assert run_sample(chosen(model, prompts, out, prompts_at_once=4), quiet=True).kept == 4
    assert out.read_bytes() == unbroken


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"temperature": 0.5}, {"answers": 4}, {"max_new_tokens": 7}, {"distinct": True}, {"stop": ["x"]}],
)
def test_a_file_of_other_settings_is_refused_and_left_alone(unbroken, model, prompts, tmp_path, other):
    out = tmp_path / "a.jsonl"
    out.write_bytes(unbroken)
    with pytest.raises(UsageError, match="made with other settings"):
        run_sample(chosen(model, prompts, out, **other), quiet=True)
    assert out.read_bytes() == unbroken


def test_files_that_hold_something_else_are_refused_and_left_alone(unbroken, model, prompts, tmp_path):
    out = tmp_path / "a.jsonl"
    other = {**rows_of(unbroken)[0], "prompt": {"text": "another prompt"}}
    cases = [
        (json.dumps(other).encode() + b"\n", "not among the prompts"),
        (unbroken.splitlines(keepends=True)[0] * 2, "not among the prompts"),
        (b'{"kind": "prompt", "text": "Say"}\n', "another kind of record"),
        (b"no json\n", "cannot be read"),
        (b"my only copy", "no row of answers"),
    ]
    for content, message in cases:
        out.write_bytes(content)
        with pytest.raises((UsageError, DataError), match=message):
            run_sample(chosen(model, prompts, out), quiet=True)
        assert out.read_bytes() == content


def test_two_processes_do_not_write_one_file(model, prompts, tmp_path):
    with (tmp_path / "a.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunLocked, match="another process"):
            run_sample(chosen(model, prompts, tmp_path / "a.jsonl"), quiet=True)


def test_several_models_and_temperatures_share_the_answers_in_turn(prompts, model, tmp_path):
    second = str(write_tiny_model(tmp_path / "second", "gpt2", seed=5))
    two = {"source": prompts, "limit": 2}
    settings = chosen([model, second], "", tmp_path / "a.jsonl", prompts=two, temperature=[0.7, 1.0], answers=5)
    run_sample(settings, quiet=True)
    for row in rows_of((tmp_path / "a.jsonl").read_bytes()):
        ways = [(c["model"], c["sampling"]["temperature"]) for c in row["completions"]]
        assert ways == [(model, 0.7), (second, 0.7), (model, 1.0), (second, 1.0), (model, 0.7)]


def test_the_likeliest_answer_is_drawn_once_and_the_rest_shared_by_the_others():
    settings = chosen("m", "p", "a.jsonl", temperature=[0.0, 0.5, 1.0], answers=6)
    assert [place.sampling.temperature for place in plan_slots(settings, 1)] == [0.0, 0.5, 1.0, 0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("given", "models", "message"),
    [
        ({"temperature": [0.5, 1.0]}, 2, "expected answers=4 or more"),
        ({"temperature": 0.0}, 1, "at temperature 0 a model gives one and the same answer"),
        ({"temperature": []}, 1, "at least one model and temperature"),
    ],
)
def test_answers_that_cannot_be_shared_out_are_refused(given, models, message):
    with pytest.raises(UsageError, match=message):
        plan_slots(chosen("m", "p", "a.jsonl", **given), models)


class Parrot:
    """An engine that says what it is told to, by how often it was asked."""

    version = 0

    def __init__(self, tokeniser, *sayings):
        self.tokeniser, self.sayings, self.asked = tokeniser, list(sayings), []

    def generate(self, prompts, sampling, *, samples=1, seeds, on_token=None):
        self.asked.append(len(seeds))
        found = []
        for i, seed in enumerate(seeds):
            ids = tuple(self.tokeniser(self.sayings.pop(0)).input_ids)
            zeros = torch.zeros(len(ids))
            found.append(
                Rollout(i // samples, i % samples, tuple(prompts[i // samples]), ids, zeros, zeros, "end", seed, 0)
            )
        return found

    def load_weights(self, state, version):
        raise AssertionError


def answers_of(sayings, *, distinct, temperature=1.0, answers=3):
    tokeniser = tiny_tokeniser()
    engine = Parrot(tokeniser, *sayings)
    speaker = AnsweringModel("parrot", engine, tokeniser, None)
    places = [AnswerSlot(0, Sampling(8, temperature))] * answers
    group = answer_group([Prompt(text="Say")], [speaker], places, seed=0, distinct=distinct)
    return [c.text for c in group.answers[0]], group, engine.asked


def test_equal_answers_are_drawn_again_and_then_left_out():
    texts, group, asked = answers_of(["one", "one", "two", " one ", "three"], distinct=True)
    assert (texts, asked, group.given_up) == (["one", "three", "two"], [3, 1, 1], [])
    texts, group, asked = answers_of(["one"] * 9, distinct=True)
    assert (texts, asked, group.given_up) == (["one"], [3, 2, 2, 2], [0, 0])


def test_equal_answers_are_kept_unless_they_are_unwanted():
    assert answers_of(["one", "one", "one"], distinct=False)[0] == ["one", "one", "one"]


def test_an_answer_that_no_reader_would_take_is_drawn_again():
    texts, group, _ = answers_of(["one", "  ", "a\0b", "two", "\n", "three"], distinct=False)
    assert (texts, group.given_up) == (["one", "two", "three"], [])
    assert [usable(text) for text in ("", " \n", "\0", "a")] == [False, False, False, True]


def test_the_likeliest_answer_is_not_asked_for_twice():
    texts, group, asked = answers_of([""], distinct=False, temperature=0.0, answers=1)
    assert (texts, group.given_up, asked) == ([], [0], [1])


def test_a_prompt_that_does_not_fit_is_counted_and_the_others_are_answered(model, tmp_path):
    rows = [Prompt(text="word " * 90), Prompt(text="A dog")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(to_dict(row)) + "\n" for row in rows))
    result = run_sample(chosen(model, str(tmp_path / "p.jsonl"), tmp_path / "a.jsonl"), quiet=True)
    assert (result.prompts, result.left_out) == (1, {"a prompt longer than a model's context": 1})
    assert "1 × a prompt longer" in "\n".join(lines_of_sample(result))


def test_sources_and_files_that_cannot_work_are_refused(model, prompts, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"kind": "document", "text": "a text"}\n')
    with pytest.raises(DataError, match="no prompts"):
        run_sample(chosen(model, str(tmp_path / "texts.jsonl"), tmp_path / "a.jsonl"), quiet=True)
    with pytest.raises(UsageError, match=r"\.jsonl file"):
        run_sample(chosen(model, prompts, tmp_path / "a.json"), quiet=True)
    with pytest.raises(UsageError, match="is the file that is read"):
        run_sample(chosen(model, prompts, prompts), quiet=True)


def test_the_command_samples_from_a_named_source_and_says_what_comes_next(model, tmp_path):
    app = typer.Typer()
    app.command()(sample)
    out = str(tmp_path / "a.jsonl")
    words = [
        "harbour:prompts?count=3",
        "--model",
        model,
        "--out",
        out,
        "--answers",
        "2",
        "--temperature",
        "0.8",
        "top_p=0.9",
    ]
    words += ["--temperature", "1.0", "--max-new-tokens", "4", "--distinct"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    assert "6 answers to 3 prompts" in ended.stdout
    assert f"steersman label {out}" in ended.stdout
    assert rows_of((tmp_path / "a.jsonl").read_bytes())[0]["completions"][0]["sampling"] == {
        "temperature": 0.8,
        "max_new_tokens": 4,
        "top_p": 0.9,
    }
    again = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (again["kept"], again["answers"]) == (3, 0)
    assert "steersman sample" in EXAMPLE
