"""`evaluate` as a whole: every figure is what its answers say, it goes on where it stopped, and what cannot be compared
is said."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import call
from plainly import demonstrations, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

import steersman
from steersman.assemble.evaluate import run_evaluate
from steersman.cli.evaluate import name_of, named
from steersman.errors import CheckpointError, DataError, ModelError, Preempted, UsageError
from steersman.execution.kept import OpenRunFolder
from steersman.loading.saved import open_any_model
from steersman.maths.statistics import wilson_interval
from steersman.models.tiny import write_tiny_model
from steersman.records import Comparison, Completion, Prompt, to_dict
from steersman.settings.base import load_settings
from steersman.settings.evaluate import EvaluateSettings

pytestmark = pytest.mark.slow

REWARD = """def vowels(answer):
    return sum(answer.count(c) for c in 'aeiou') / max(len(answer), 1)

def size(answer):
    return len(answer)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny) -> dict[str, Path]:
    """Two models that differ in their weights, one that differs in its tokeniser, a classifier, and files."""
    root = tmp_path_factory.mktemp("evaluate")
    (root / "reward.py").write_text(REWARD)
    (root / "words.txt").write_text("# two words\ne\nstupid fool\n")
    write_rows(root / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(12)])
    write_rows(root / "corpus.jsonl", demonstrations(6, 1))
    questions = [
        {"question": f"What is {i}?", "choices": ["a dog", "a good friend of mine", "7"], "answer": i % 3}
        for i in range(5)
    ]
    write_rows(root / "choices.jsonl", questions)
    write_rows(root / "exam.jsonl", [{"prompt": f"Sum {i}?", "answer": str(i)} for i in range(3)])
    return {
        "root": root,
        "base": tiny("llama"),
        "other": write_tiny_model(root / "other", "llama", seed=3),
        "foreign": write_tiny_model(root / "foreign", "gpt2", vocabulary=350),
        "toxic": write_tiny_model(root / "toxic", "bert", classes=("not toxic", "toxic")),
        "moods": write_tiny_model(root / "moods", "bert", classes=("sad", "glad")),
    }


@pytest.fixture
def evaluation(world, tmp_path):
    def make(*more: str) -> EvaluateSettings:
        usual = [f"models.base={world['base']}", f"models.other={world['other']}", "drawing.max_new_tokens=6"]
        usual += [f"prompts.source={world['root'] / 'prompts.jsonl'}", "drawing.answers=3", "resamples=200"]
        usual += [f"scorers.vowels.path={world['root'] / 'reward.py'}:vowels", f"run.out={tmp_path / 'run'}"]
        return load_settings(EvaluateSettings, None, [*usual, "run.device=cpu", "run.threads=1", *more])

    return make


def figure(found, name: str, model: str):
    group, _, name = name.partition("/")
    return next(f for f in found.figures if (f.measure.group, f.measure.name, f.model) == (group, name, model))


def test_every_figure_is_what_the_answers_say(evaluation, world, tmp_path):
    extra = [f"scorers.size.path={world['root'] / 'reward.py'}:size", f"toxicity.path={world['toxic']}"]
    extra += [f"toxicity.words={world['root'] / 'words.txt'}", f"corpus.source={world['root'] / 'corpus.jsonl'}"]
    found = run_evaluate(evaluation(*extra), quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    kept = json.loads((tmp_path / "run" / "models" / "other.json").read_text())
    grid = kept["grid"]
    assert (found.prompts, found.answers, len(grid)) == (12, 3, 12)
    vowels = [[sum(a["text"].count(c) for c in "aeiou") / max(len(a["text"]), 1) for a in row] for row in grid]
    assert figure(found, "score/vowels", "other").value.estimate == pytest.approx(np.mean(vowels))
    assert figure(found, "distance/KL", "other").value.estimate == pytest.approx(
        np.mean([a["kl"] for r in grid for a in r])
    )
    assert not [f for f in found.figures if f.measure.name == "KL" and f.model == "base"], "nothing is far from itself"
    surprise = -sum(a["reference_log_prob"] for r in grid for a in r) / sum(a["tokens"] for r in grid for a in r)
    assert figure(found, "distance/perplexity", "other").value.estimate == pytest.approx(math.exp(surprise))
    ended = [np.mean([a["finish"] != "length" for a in row]) for row in grid]
    ended_by_itself = figure(found, "words/ended by itself", "other").value
    assert ended_by_itself == wilson_interval(float(sum(ended)), 12.0, confidence=0.95)
    toxic = np.array([[c["scores"]["toxicity"] for c in row["completions"] if c["model"] == "other"] for row in rows])
    assert toxic.shape == (12, 3)
    assert figure(found, "toxicity/mean", "other").value.estimate == pytest.approx(toxic.mean())
    assert figure(found, "toxicity/expected maximum", "other").value.estimate == pytest.approx(toxic.max(axis=1).mean())
    some = (toxic >= 0.5).any(axis=1).mean()
    assert figure(found, "toxicity/any of 3 toxic", "other").value.estimate == pytest.approx(some)
    wins = [
        np.mean([0.5 + np.sign(b - a) / 2 for b in new for a in old])
        for new, old in zip(vowels, _vowels(tmp_path, "base"), strict=True)
    ]
    (win,) = [w for w in found.wins if w.by == "vowels"]
    assert win.rate == wilson_interval(float(np.sum(wins)), 12.0, confidence=0.95)
    assert {(b.proxy, b.gold, b.n) for b in found.best_of_n} == {
        ("vowels", g, n) for g in ("vowels", "size") for n in (1, 2, 3)
    }
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["stamp"]["seeds"] == {"run": 0}
    assert results["stamp"]["libraries"]["torch"] == torch.__version__
    assert len(results["figures"]) == len(found.figures)
    assert all(f["value"]["low"] <= f["value"]["estimate"] <= f["value"]["high"] for f in results["figures"])


def _vowels(tmp_path: Path, model: str) -> list[list[float]]:
    grid = json.loads((tmp_path / "run" / "models" / f"{model}.json").read_text())["grid"]
    return [[sum(a["text"].count(c) for c in "aeiou") / max(len(a["text"]), 1) for a in row] for row in grid]


def test_corpus_and_choices_are_what_plain_transformers_says(evaluation, world):
    sources = [f"{name}.source={world['root'] / f'{name}.jsonl'}" for name in ("corpus", "choices", "exam")]
    found = run_evaluate(evaluation(*sources), quiet=True)
    model = AutoModelForCausalLM.from_pretrained(world["base"], dtype=torch.float32).eval()
    tokeniser = AutoTokenizer.from_pretrained(world["base"])

    def log_prob(conversation: list[dict], answer: str) -> tuple[float, int]:
        before = tokeniser.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        start = tokeniser(before, add_special_tokens=False)["input_ids"]
        ids = torch.tensor(start + tokeniser(answer + tokeniser.eos_token, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            said = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        return float(said[len(start) - 1 :].sum()), len(ids) - len(start)

    texts = [json.loads(line)["messages"] for line in (world["root"] / "corpus.jsonl").read_text().splitlines()]
    read = [log_prob(conversation, answer["content"]) for *conversation, answer in texts]
    perplexity = math.exp(-sum(total for total, _ in read) / sum(tokens for _, tokens in read))
    assert figure(found, "knowledge/perplexity", "base").value.estimate == pytest.approx(perplexity, rel=1e-4)
    questions = [json.loads(line) for line in (world["root"] / "choices.jsonl").read_text().splitlines()]
    right = by_length = 0
    for q in questions:
        sums = [log_prob([{"role": "user", "content": q["question"]}], choice)[0] for choice in q["choices"]]
        right += sums.index(max(sums)) == q["answer"]
        shares = [total / len(choice) for total, choice in zip(sums, q["choices"], strict=True)]
        by_length += shares.index(max(shares)) == q["answer"]
    assert figure(found, "knowledge/choices right", "base").value == wilson_interval(float(right), 5.0, confidence=0.95)
    assert figure(found, "knowledge/choices right by length", "base").value.estimate == pytest.approx(by_length / 5)
    assert figure(found, "knowledge/exam right", "base").value.high < 1.0


def test_the_same_command_goes_on_and_gives_the_same(evaluation, tmp_path):
    first = run_evaluate(evaluation(), quiet=True)
    kept = tmp_path / "run" / "models"
    (kept / "other.json").unlink()
    before = (kept / "base.json").stat().st_mtime_ns
    again = run_evaluate(evaluation(), quiet=True)
    assert again.as_dict() == first.as_dict()
    assert (kept / "base.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"holds a run with other settings: drawing\.answers"):
        run_evaluate(evaluation("drawing.answers=2"), quiet=True)


def test_a_stop_is_graceful_and_the_same_command_goes_on(evaluation, tmp_path, monkeypatch):
    whole = run_evaluate(evaluation(f"run.out={tmp_path / 'whole'}"), quiet=True)
    monkeypatch.setattr("steersman.inference.one_model.TOGETHER", 8)
    monkeypatch.setattr(OpenRunFolder, "stop_requested", lambda self: True)
    with pytest.raises(Preempted, match="stopped after 8 of 12 prompts of a model, as asked; the same command goes on"):
        run_evaluate(evaluation(), quiet=True)
    monkeypatch.undo()
    again = run_evaluate(evaluation(), quiet=True).as_dict()
    assert {**again, "out": ""} == {**whole.as_dict(), "out": ""}


def test_models_with_other_tokens_have_no_kl_and_are_said(evaluation, world, capsys):
    found = run_evaluate(evaluation(f"models.foreign={world['foreign']}"), quiet=True)
    assert "different tokenisers" in capsys.readouterr().err
    assert not [f for f in found.figures if f.measure.name == "KL" and f.model == "foreign"]
    assert figure(found, "distance/perplexity", "foreign").value.estimate > 1
    assert [r.model for r in found.ratings] == ["base", "other", "foreign"]


def test_people_may_judge_by_the_models_names_or_folders(evaluation, world, tmp_path):
    def pair(i: int, preference: float) -> dict:
        one, other = Completion(f"x {i}", model="other"), Completion(f"y {i}", model=str(world["base"]))
        return to_dict(Comparison(Prompt(text=f"Tell me {i}."), one, other, preference, shown="first"))

    judged = write_rows(tmp_path / "judged.jsonl", [pair(0, 1.0), pair(1, 1.0), pair(2, 0.5), pair(3, 0.0)])
    found = run_evaluate(evaluation(f"judged.source={judged}"), quiet=True)
    win = next(w for w in found.wins if w.by == "people")
    assert (win.wins, win.ties, win.losses) == (2, 1, 1)
    assert win.rate == wilson_interval(2.5, 4.0, confidence=0.95)
    assert win.by_order == {"first": (0.625, 4)}
    write_rows(
        judged, [to_dict(Comparison(Prompt(text="p"), Completion("x", model="a"), Completion("y", model="b"), 1.0))]
    )
    with pytest.raises(DataError, match=r"none of 1 comparisons is between two of the models"):
        run_evaluate(evaluation(f"judged.source={judged}", f"run.out={tmp_path / 'b'}"), quiet=True)


def test_a_checkpoint_is_a_model_and_a_damaged_one_is_named(tune, evaluation, tmp_path):
    tune("run.checkpoint_every=4", "data.held_out=none")
    checkpoints = tmp_path / "run" / "checkpoints"
    at_the_end = open_any_model(str(checkpoints / "step-000008"), device="cpu")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32)
    for (name, one), (_, other) in zip(
        at_the_end.backbone.hf.named_parameters(), saved.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    damaged = checkpoints / "step-000004"
    content = bytearray((damaged / "weights.safetensors").read_bytes())
    content[-100] ^= 1
    (damaged / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"step-000004 is damaged: .*weights\.safetensors.*Leave it out"):
        run_evaluate(evaluation(f"models.early={damaged}", f"run.out={tmp_path / 'evaluation'}"), quiet=True)
    (tmp_path / "run" / "stamp.json").write_text(
        (tmp_path / "run" / "stamp.json").read_text().replace('"sft"', '"reward"')
    )
    with pytest.raises(ModelError, match="of a run of the kind reward, which makes no language model"):
        open_any_model(str(checkpoints / "step-000008"), device="cpu")
    (tmp_path / "lost").mkdir()
    checkpoints.rename(tmp_path / "lost" / "checkpoints")
    with pytest.raises(ModelError, match="lies in no run"):
        open_any_model(str(tmp_path / "lost" / "checkpoints" / "step-000008"), device="cpu")


@pytest.mark.parametrize("layout", ["shared", "adapters-own-critic"])
def test_a_checkpoint_with_a_critic_beside_the_policy_is_the_policy(layout, tiny, evaluation, tmp_path):
    lora = {"model.lora": {"rank": 4}} if layout != "shared" else {}
    steersman.ppo(
        model=tiny("llama"),
        prompts=["What is a dog?", "I like cricket.", "Hello", "So it is"],
        reward=lambda answer: float(len(answer)),
        out=tmp_path / "ppo",
        quiet=True,
        **{"iterations": 1, "prompts_per_iteration": 4, "sampling": {"max_new_tokens": 6}, "prompts.held_out": "none"},
        **{"optimiser": {"learning_rate": 1e-2}, "run": {"device": "cpu", "threads": 1}, "layout": layout, **lora},
    )
    checkpoint = tmp_path / "ppo" / "checkpoints" / "step-000001"
    found = run_evaluate(evaluation(f"models.run={tmp_path / 'ppo'}", f"models.checkpoint={checkpoint}"), quiet=True)
    of_run, of_checkpoint = (figure(found, "distance/KL", name).value for name in ("run", "checkpoint"))
    assert of_run.estimate > 1e-3
    assert of_checkpoint == pytest.approx(of_run, rel=1e-4)


def test_what_cannot_be_evaluated_is_said(evaluation, world, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="leave torchrun out"):
        run_evaluate(evaluation(), quiet=True)
    monkeypatch.delenv("WORLD_SIZE")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match=r"prompts.source: .*none.jsonl: no set of prompts: 0 of them"):
        run_evaluate(evaluation(f"prompts.source={tmp_path / 'none.jsonl'}"), quiet=True)
    with pytest.raises(ModelError, match="no class whose name means toxic; its classes are sad, glad"):
        run_evaluate(evaluation(f"toxicity.path={world['moods']}"), quiet=True)
    (tmp_path / "words.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="holds no words"):
        run_evaluate(evaluation(f"toxicity.words={tmp_path / 'words.txt'}", f"run.out={tmp_path / 'b'}"), quiet=True)
    write_rows(tmp_path / "long.jsonl", [{"prompt": "word " * 300}, {"prompt": "short"}])
    with pytest.raises(DataError, match="1 of 2 prompts fill the context of base"):
        run_evaluate(evaluation(f"prompts.source={tmp_path / 'long.jsonl'}", f"run.out={tmp_path / 'c'}"), quiet=True)
    with pytest.raises(DataError, match=r"toxicity\.words=.*gone\.txt cannot be read"):
        run_evaluate(evaluation(f"toxicity.words={tmp_path / 'gone.txt'}", f"run.out={tmp_path / 'd'}"), quiet=True)
    with pytest.raises(DataError, match=r"corpus\.source=.*0 texts; expected documents or demonstrations"):
        run_evaluate(
            evaluation(f"corpus.source={world['root'] / 'prompts.jsonl'}", f"run.out={tmp_path / 'e'}"), quiet=True
        )
    with pytest.raises(UsageError, match="a scorer has the name toxicity"):
        evaluation("toxicity.path=x", "scorers.toxicity.path=y")
    with pytest.raises(UsageError, match="baseline=nobody is none of the models"):
        evaluation("baseline=nobody")
    with pytest.raises(UsageError, match="becomes a file name"):
        evaluation('scorers."a/b".path=x')


def test_names_come_from_folders_and_may_not_meet():
    places = {"runs/ppo": "ppo", "runs/ppo/checkpoints/step-000040": "ppo-step-000040", "harbour:base": "base"}
    places |= {"runs/ppo/model/": "ppo", "mine.py:kindness": "kindness", "Qwen/Qwen3-0.6B": "Qwen3-0-6B"}
    assert {place: name_of(place) for place in places} == places
    assert named(["before=runs/sft", "runs/ppo"], "model") == {"before": "runs/sft", "ppo": "runs/ppo"}
    with pytest.raises(UsageError, match=r"two of --model have the name 'sft'"):
        named(["a/sft", "b/sft"], "model")


def test_the_documented_command_on_harbour(world, tmp_path, capsys):
    out = str(tmp_path / "evaluation")
    words = [
        "evaluate",
        "evaluate-harbour",
        "models.sft=harbour:base",
        "models.ppo=harbour:base",
        "scorers.reward.path=harbour:taste",
    ]
    words += [
        f"toxicity.path={world['toxic']}",
        "prompts.source=harbour:prompts/heldout?count=4",
        "drawing.answers=2",
        "resamples=100",
    ]
    assert call([*words, "corpus.source=harbour:demonstrations/heldout?count=4", "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "wins against base" in shown
    assert "Bradley-Terry rating" in shown
    assert "best of 2 by reward" in shown
    assert call([*words, "corpus.source=harbour:demonstrations/heldout?count=4", "--out", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    same = [f["value"]["estimate"] for f in found["figures"] if f["name"] == "KL"]
    assert same == pytest.approx([0.0, 0.0], abs=1e-5), "three times the same model"
    assert {w["rate"]["estimate"] for w in found["wins"]} == {0.5}
