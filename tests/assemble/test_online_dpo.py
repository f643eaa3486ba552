"""`online-dpo` as a whole: it climbs the scorer's scores, resumes to the bit, survives an outage, and refuses what it
cannot do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from moody_server import moody_server
from plainly import write_rows
from typer.testing import CliRunner

from steersman.assemble.online_dpo import run_online_dpo
from steersman.cli.main import app
from steersman.errors import ServiceError, UsageError
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.dpo import OnlineDpoSettings
from steersman.train.core import Learner

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tiny, tmp_path) -> Callable[..., OnlineDpoSettings]:
    (tmp_path / "mine.py").write_text("def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / 5\n")
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(20)])

    def make(*more: str) -> OnlineDpoSettings:
        usual = [f"model.path={tiny('llama')}", f"prompts.source={prompts}", "prompts.held_out=0.2", "run.device=cpu"]
        usual += [f"run.out={tmp_path / 'run'}", "run.threads=1", "train.kernels=default", "train.batch_size=8"]
        usual += [
            "sampling.max_new_tokens=8",
            "train.steps=6",
            "train.evaluate_every=3",
            "optimiser.learning_rate=3e-3",
        ]
        scorer = [f"scorer.path={tmp_path / 'mine.py'}:vowels"] if not any(w.startswith("scorer") for w in more) else []
        return load_settings(OnlineDpoSettings, None, [*usual, *scorer, "optimiser.warmup=0", *more])

    return make


def scores(out: str) -> list[float]:
    return [row["score"] for row in read_rows(Path(out) / "journal.jsonl")[0] if "score" in row]


# ipo's gradient is small near its target, so it learns from 30 steps more clearly at a higher rate
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("model.lora.rank=4", "optimiser.learning_rate=3e-2"),
        ("loss=ipo", "optimiser.learning_rate=1e-2"),
    ],
)
def test_the_policy_learns_what_the_scorer_prefers(settings, more):
    result = run_online_dpo(settings("train.steps=30", "samples_per_prompt=4", "beta=0.05", *more), quiet=True)
    found = scores(result.out)
    assert len(found) == 30
    before, after = sum(found[:5]) / 5, sum(found[-5:]) / 5
    assert after > 1.5 * before
    assert result.held_out["score"] > before
    assert result.held_out["KL to reference"] > 1


def test_a_run_that_is_cut_off_ends_as_one_that_was_not(settings, tmp_path, monkeypatch):
    words = ("run.checkpoint_every=2", "use_margin=true", "labels=hard")
    whole = run_online_dpo(settings(*words, f"run.out={tmp_path / 'whole'}"), quiet=True)
    step, seen = Learner.step, []

    def dies(self, units, objective):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return step(self, units, objective)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            run_online_dpo(settings(*words, f"run.out={tmp_path / 'parted'}"), quiet=True)
    parted = run_online_dpo(settings(*words, f"run.out={tmp_path / 'parted'}"), quiet=True)
    one, two = ((Path(result.model) / "model.safetensors").read_bytes() for result in (whole, parted))
    assert one == two
    assert parted.held_out == whole.held_out
    assert scores(parted.out) == scores(whole.out)
    again = run_online_dpo(settings(*words, f"run.out={tmp_path / 'parted'}"), quiet=True)
    assert (again.ending, again.held_out) == ("already finished", whole.held_out)


def test_before_the_first_step_the_policy_is_the_reference(settings):
    result = run_online_dpo(settings("train.steps=1", "train.evaluate_every=1"), quiet=True)
    row = next(row for row in read_rows(Path(result.out) / "journal.jsonl")[0] if row.get("loss") is not None)
    assert row["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert row["log ratio"] == pytest.approx(0.0, abs=1e-4)


def test_an_outage_of_the_scorer_leaves_a_checkpoint(settings, tmp_path):
    with moody_server() as server:
        service = [f"scorer.path={server.url}", 'scorer.http.allow=["127.0.0.1"]', "scorer.http.patience=0.2"]
        # One request for the held-out pairs, and one for the sixteen answers of each step.
        server.moods = lambda number: "well" if number < 3 else "status 503"
        wished = settings(*service, "run.checkpoint_every=100")
        with pytest.raises(ServiceError):
            run_online_dpo(wished, quiet=True)
        kept = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
        assert kept == ["step-000002"]
        server.moods = lambda number: "well"
        result = run_online_dpo(wished, quiet=True)
        assert len(server.answered) == len(set(server.answered))
    assert (result.ending, result.step) == ("finished", 6)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("loss=kto",), "judges pairs"),
        (("train.packing=true",), "packing"),
        (("gamma=1",), "has no place for gamma"),
        (("loss=simpo", "reference=x"), "has no place for reference"),
        (("distance.max_new_tokens=9",), "sampling.max_new_tokens"),
        (("use_margin=true",), "choose labels=hard"),
        (("samples_per_prompt=1",), "greater than or equal to 2"),
    ],
)
def test_wishes_that_cannot_be_granted_are_refused(settings, words, match):
    with pytest.raises(UsageError, match=match):
        run_online_dpo(settings(*words), quiet=True)


def test_the_command_and_its_recipe_run(settings, tmp_path):
    words = [
        "online-dpo",
        "online-dpo-harbour",
        "--model",
        "harbour:base",
        "--scorer",
        f"{tmp_path / 'mine.py'}:vowels",
    ]
    settings()
    words += ["--out", str(tmp_path / "harbour"), "train.steps=2", "train.evaluate_every=2", "train.batch_size=4"]
    words += ["prompts.limit=8", "sampling.max_new_tokens=6", "distance.prompts=4", "prompts.held_out=0.3", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["ending"] == "finished"


@pytest.mark.parametrize(("method", "rate"), [("xpo", 3e-3), ("nash_md", 1e-2)])
def test_xpo_and_nash_md_learn_what_the_scorer_prefers(settings, tmp_path, method, rate):
    # scores that differ by several nats, so that the judge is sure
    (tmp_path / "sure.py").write_text("def vowels(answer):\n    return 2.0 * sum(answer.count(c) for c in 'aeiou')\n")
    words = (f"method={method}", f"scorer.path={tmp_path / 'sure.py'}:vowels", "train.batch_size=16")
    words += (f"optimiser.learning_rate={rate}", "sampling.max_new_tokens=4", "beta=0.02")
    result = run_online_dpo(settings("train.steps=25", *words), quiet=True)
    found = scores(result.out)
    before, after = sum(found[:5]) / 5, sum(found[-5:]) / 5
    print(f"\n{method}: score {before:.3f} -> {after:.3f}, KL {result.held_out['KL to reference']:.2f}")
    assert after > 1.3 * before
    assert result.held_out["score"] > before
