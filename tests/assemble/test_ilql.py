"""`ilql` as a whole: it learns and answers better, resumes to the bit, its heads come back, all who generate use them,
bad wishes are refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commandline import call
from plainly import OTHERS, judged, write_rows
from safetensors.torch import load_file

from steersman.assemble.evaluate import run_evaluate
from steersman.assemble.ilql import run_ilql
from steersman.assemble.sample import run_sample
from steersman.assemble.score import run_score
from steersman.errors import DataError, UsageError
from steersman.inference.conversation import Conversation
from steersman.loading.engines import engine_of
from steersman.loading.saved import open_any_model, open_model
from steersman.models.files import HEADS
from steersman.rollout.engine import Sampling
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.ilql import IlqlSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.score import ScoreSettings
from steersman.text.template import encode_prompt
from steersman.text.tokeniser import decode
from steersman.train.core import Learner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """Answers of random words; one word is what the score counts."""
    draw, rows = random.Random(0), []
    for i in range(60):
        answers = [draw.choices([*OTHERS, "friend", "friend"], k=4) for _ in range(4)]
        completions = [
            {"text": " ".join(words), "scores": {"friends": float(words.count("friend"))}} for words in answers
        ]
        prompt = {"messages": [{"role": "user", "content": f"Tell me {i}."}]}
        rows.append({"kind": "answers", "prompt": prompt, "completions": completions})
    return write_rows(tmp_path_factory.mktemp("scored") / "scored.jsonl", rows)


@pytest.fixture
def settings(tiny, scored, tmp_path) -> Callable[..., IlqlSettings]:
    def make(*more: str) -> IlqlSettings:
        usual = [f"model.path={tiny('llama')}", f"data.source={scored}", "data.held_out=0.1"]
        usual += [f"run.out={tmp_path / 'run'}", "run.device=cpu", "run.threads=1", "train.kernels=default"]
        usual += ["train.batch_size=24", "train.steps=12", "train.evaluate_every=6", "optimiser.learning_rate=3e-3"]
        return load_settings(IlqlSettings, None, [*usual, "optimiser.warmup=0", "polyak=0.2", *more])

    return make


def friends(model: str, beta: float | None) -> float:
    """How often the word that pays comes in an answer."""
    found = open_model(model, device="cpu")
    prompts = [encode_prompt(found.tokeniser, prompt) for prompt in _prompts()]
    rollouts = engine_of(found).generate(prompts, Sampling(24, 1.0, q_beta=beta), samples=8, seeds=4)
    return sum(decode(found.tokeniser, rollout.ids).count("friend") for rollout in rollouts) / len(rollouts)


def _prompts():
    from steersman.records import Message, Prompt

    return [Prompt((Message("user", f"Tell me {i}."),)) for i in range(100, 108)]


def test_answers_that_lean_on_q_earn_more(settings):
    result = run_ilql(settings("train.steps=150", "beta=6", "discount=1"), quiet=True)
    rows, _ = read_rows(Path(result.out) / "journal.jsonl")
    held_out = [row["held-out loss"] for row in rows if row.get("held-out loss") is not None]
    assert held_out[-1] < held_out[0]
    assert {"Q", "V", "advantage", "loss q", "loss value", "loss conservative", "loss imitation"} <= set(rows[-3])
    imitating, leaning = friends(result.model, 0.0), friends(result.model, None)
    assert leaning > imitating + 0.25
    assert friends(result.model, 6.0) == leaning


def test_an_adapter_learns_and_is_saved_with_the_heads(settings):
    result = run_ilql(settings("model.lora.rank=4", "train.steps=3"), quiet=True)
    assert (Path(result.model) / "adapter_config.json").exists()
    assert open_model(result.out, device="cpu").guide is not None


def test_judgements_and_thumbs_teach_too(settings, tmp_path):
    source = write_rows(tmp_path / "judged.jsonl", judged(24, 1))
    result = run_ilql(settings(f"data.source={source}", "train.steps=2"), quiet=True)
    notices = [str(row["notice"]) for row in read_rows(Path(result.out) / "journal.jsonl")[0] if "notice" in row]
    assert any("answers to learn from, which earned 0 ± 1" in words for words in notices)


def test_a_run_that_is_stopped_half_way_ends_as_one_that_was_not(settings, tmp_path, monkeypatch):
    whole = run_ilql(settings(f"run.out={tmp_path / 'whole'}"), quiet=True)
    words = (f"run.out={tmp_path / 'parted'}", "run.checkpoint_every=5")
    step, seen = Learner.step, []

    def dies(self, units, objective):
        seen.append(1)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return step(self, units, objective)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            run_ilql(settings(*words), quiet=True)
    parted = run_ilql(settings(*words), quiet=True)
    for name in ("model.safetensors", HEADS):
        one, two = (load_file(Path(result.model) / name) for result in (whole, parted))
        assert set(one) == set(two)
        assert all(one[key].equal(two[key]) for key in one), name
    assert run_ilql(settings(*words), quiet=True).ending == "already finished"


def test_a_model_with_heads_goes_on_with_them(settings, tmp_path):
    first = run_ilql(settings(), quiet=True)
    second = run_ilql(
        settings(
            f"model.path={first.out}", f"run.out={tmp_path / 'on'}", "train.steps=1", "optimiser.learning_rate=1e-12"
        ),
        quiet=True,
    )
    before, after = (load_file(Path(result.model) / HEADS) for result in (first, second))
    for key, tensor in before.items():
        if "target" not in key:
            assert torch.allclose(after[key], tensor, atol=1e-6), key
    learned, target = before["ilql.q.0.outer"], before["ilql.target.0.outer"]
    assert torch.allclose(after["ilql.target.0.outer"], target.lerp(learned, 0.2), atol=1e-6)


def test_sample_and_chat_lean_on_what_the_folder_holds(settings, tmp_path):
    result = run_ilql(settings("train.steps=20", "beta=8"), quiet=True)
    source = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(6)])

    def sampled(name: str, *more: str) -> list[str]:
        out = tmp_path / f"{name}.jsonl"
        words = [f"model={result.out}", f"prompts.source={source}", "answers=2", "max_new_tokens=8", "device=cpu"]
        run_sample(load_settings(SampleSettings, None, [*words, f"out={out}", *more]), quiet=True)
        return [c["text"] for line in out.read_text().splitlines() for c in json.loads(line)["completions"]]

    assert sampled("own") == sampled("said", "q_beta=8")
    assert sampled("none", "q_beta=0") != sampled("own-again")
    kept = json.loads((tmp_path / "said.jsonl").read_text().splitlines()[0])
    assert kept["completions"][0]["sampling"]["q_beta"] == 8

    def said(q_beta: float | None) -> str:
        sampling = Sampling(12, 1.0, q_beta=q_beta)
        talk = Conversation(open_model(result.out, device="cpu"), system=None, sampling=sampling, seed=1)
        return talk.say("Tell me.", lambda piece: None)

    assert said(None) == said(8.0)


def test_evaluate_and_checkpoints_lean_too(settings, tmp_path):
    result = run_ilql(settings("train.steps=20", "beta=8", "run.checkpoint_every=20"), quiet=True)
    checkpoint = open_any_model(f"{result.out}/checkpoints/step-000020", device="cpu")
    saved = open_any_model(result.out, device="cpu")
    prompts, sampling = [[5, 6, 7], [20, 21]], Sampling(12, 1.0)
    assert engine_of(checkpoint).generate(prompts, sampling, seeds=3) == engine_of(saved).generate(
        prompts, sampling, seeds=3
    )
    source = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(4)])
    (tmp_path / "reward.py").write_text("def size(answer):\n    return len(answer)\n")
    words = [f"models.q={result.out}", f"prompts.source={source}", "drawing.answers=2", "drawing.max_new_tokens=6"]
    words += [f"scorers.size.path={tmp_path / 'reward.py'}:size", f"run.out={tmp_path / 'evaluated'}", "resamples=100"]
    run_evaluate(load_settings(EvaluateSettings, None, [*words, "run.device=cpu", "run.threads=1"]), quiet=True)
    kept = "".join(path.read_text() for path in (tmp_path / "evaluated").rglob("*.json*"))
    assert "lean on its Q heads (beta 8)" in kept


def test_rewards_within_answers_come_from_a_scorer(settings, tmp_path):
    """A scorer's rewards for stretches of an answer are kept by `score` and learned from by `ilql`."""
    (tmp_path / "stretch.py").write_text(
        "from steersman.reward.scorer import Score, SpanReward\n"
        "def stretches(answer):\n    return Score(1.0, spans=(SpanReward(0, 3, 0.5),))\n"
    )
    source = write_rows(
        tmp_path / "plain.jsonl", [{"prompt": f"Tell me {i}.", "completion": "A dog is good."} for i in range(12)]
    )
    words = [f"data.source={source}", f"scorer.path={tmp_path / 'stretch.py'}:stretches", f"out={tmp_path / 's.jsonl'}"]
    run_score(load_settings(ScoreSettings, None, words), quiet=True)
    result = run_ilql(settings(f"data.source={tmp_path / 's.jsonl'}", "train.steps=1"), quiet=True)
    assert "rewarded within" in (Path(result.out) / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("train.packing=true",), "nothing may follow"),
        (("imitation=0", "imitation_beta=1"), "imitates nothing"),
    ],
)
def test_wishes_that_contradict_one_another_are_refused(settings, words, match):
    with pytest.raises(UsageError, match=match):
        run_ilql(settings(*words), quiet=True)


def test_answers_of_one_worth_or_none_are_refused(settings, tmp_path):
    plain = [{"prompt": f"Tell me {i}.", "completion": "dog"} for i in range(20)]
    source = write_rows(tmp_path / "plain.jsonl", plain)
    with pytest.raises(DataError, match=r"no rewarded answers to learn from .* without a reward"):
        run_ilql(settings(f"data.source={source}"), quiet=True)
    equal = [
        {"kind": "label", "prompt": {"text": f"Tell {i}."}, "completion": {"text": "dog"}, "desirable": True}
        for i in range(20)
    ]
    source = write_rows(tmp_path / "equal.jsonl", equal)
    with pytest.raises(DataError, match=r"all .* answers earned 1, so that none is better"):
        run_ilql(settings(f"data.source={source}", f"run.out={tmp_path / 'equal'}"), quiet=True)


def test_the_command_and_its_recipe_run(tmp_path, capsys):
    words = ["ilql", "ilql-harbour", "--model", "harbour:base", "--data", "harbour:comparisons?count=24"]
    words += ["--out", str(tmp_path / "run"), "data.held_out=harbour:comparisons/heldout?count=8"]
    words += ["train.steps=2", "train.evaluate_every=2", "train.batch_size=8"]
    assert call(words) == 0
    assert f"steersman chat {tmp_path / 'run'} --q-beta 8" in capsys.readouterr().out
