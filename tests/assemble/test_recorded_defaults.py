"""A run that began before a default changed is resumed with what it began with, through the command line."""

import json
import shutil
from pathlib import Path

import pytest
from commandline import call

from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow

FAST = ("run.threads=1", "compute.kernels=default", "run.checkpoint_every=1")


def begin_again(out: Path) -> None:
    """Make a finished run one that was stopped after its first step."""
    (out / "ending.json").unlink()
    shutil.rmtree(out / "model")
    steps = sorted((out / "checkpoints").glob("step-*"))
    for later in steps[1:]:
        shutil.rmtree(later)
    (out / "checkpoints" / "best.json").unlink(missing_ok=True)


def without(out: Path, *keys: str) -> None:
    """Take settings out of the run's recipe, as in a recipe of a release that did not have them."""
    path = out / "recipe.toml"
    lines = path.read_text().splitlines()
    for key in keys:
        assert any(line.startswith(f"{key} =") for line in lines), key
        lines = [line for line in lines if not line.startswith(f"{key} =")]
    path.write_text("\n".join(lines) + "\n")


def notices(out: Path) -> list[str]:
    return [row["notice"] for row in read_rows(out / "journal.jsonl")[0] if "notice" in row]


@pytest.fixture
def ppo(tiny, tmp_path):
    (tmp_path / "reward.py").write_text("def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / 5\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Tell me {i}."}) + "\n" for i in range(8)))
    return [
        *("ppo", "--model", str(tiny("llama")), "--scorer", f"{tmp_path / 'reward.py'}:vowels", "--device", "cpu"),
        *("--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(tmp_path / "run"), "iterations=3", *FAST),
        *("prompts_per_iteration=4", "sampling.max_new_tokens=6", "update.epochs=1", "prompts.held_out=none"),
    ]


def test_ppo_keeps_the_horizon_that_it_began_with(ppo, tmp_path):
    out, ours = tmp_path / "run", ["kl.controller=adaptive"]
    # what an earlier release wrote for a run that named no horizon
    assert call([*ppo, *ours, "kl.horizon=10000.0"]) == 0
    began = [row["KL coefficient"] for row in read_rows(out / "journal.jsonl")[0] if "KL coefficient" in row]
    begin_again(out)
    without(out, "horizon_iterations")
    assert call([*ppo, *ours]) == 0
    rows = [row["KL coefficient"] for row in read_rows(out / "journal.jsonl")[0] if "KL coefficient" in row]
    assert rows == began
    assert "kl.horizon=10000.0 is kept from this run's beginning; the default is now None" in notices(out)
    assert "horizon = 10000.0" in (out / "recipe.toml").read_text()
    # and once it has finished, the same command finds it finished
    assert call([*ppo, *ours]) == 0


def test_ppo_scales_scores_as_it_began_to(ppo, tmp_path):
    out, ours = tmp_path / "run", ["score.normalise=running"]
    assert call([*ppo, *ours, "score.centre=false"]) == 0
    began = [row["score"] for row in read_rows(out / "journal.jsonl")[0] if "score" in row]
    begin_again(out)
    without(out, "centre")  # as an earlier release wrote it: normalise=running only scaled
    assert call([*ppo, *ours]) == 0
    assert [row["score"] for row in read_rows(out / "journal.jsonl")[0] if "score" in row] == began
    assert "score.centre=False is kept from this run's beginning; the default is now True" in notices(out)
    # a run that begins now centres
    assert call([*(word.replace(str(out), str(tmp_path / "new")) for word in ppo), *ours]) == 0
    new = [row["score"] for row in read_rows(tmp_path / "new" / "journal.jsonl")[0] if "score" in row]
    assert new[0] == pytest.approx(0.0, abs=1e-6)
    assert began[0] > 0.1


def test_online_dpo_labels_pairs_as_it_began_to(ppo, tmp_path):
    out, given = tmp_path / "run", dict(zip(ppo[1:9:2], ppo[2:10:2], strict=True))
    command = ["online-dpo", *(word for pair in given.items() for word in pair), "--out", str(out)]
    command += ["prompts.held_out=none", "sampling.max_new_tokens=6", "train.steps=2", "train.batch_size=4"]
    command += ["run.threads=1", "train.kernels=default", "run.checkpoint_every=1", "optimiser.warmup=0"]
    assert call([*command, "labels=hard"]) == 0
    began = [row["loss"] for row in read_rows(out / "journal.jsonl")[0] if "loss" in row]
    begin_again(out)
    without(out, "labels")  # as an earlier release wrote it: all labels were hard
    assert call(command) == 0
    assert [row["loss"] for row in read_rows(out / "journal.jsonl")[0] if "loss" in row] == began
    assert "labels='hard' is kept from this run's beginning; the default is now 'soft'" in notices(out)
    assert call([*(word.replace(str(out), str(tmp_path / "new")) for word in command)]) == 0
    assert 'labels = "soft"' in (tmp_path / "new" / "recipe.toml").read_text()


def test_reward_leaves_long_judgements_out_unless_it_began_by_cutting_them(tiny, tmp_path):
    rows = [{"prompt": f"Tell me {i}.", "chosen": "A good day.", "rejected": "No."} for i in range(8)]
    rows[3]["chosen"] = "and so on " * 40
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    command = ["reward", "--model", str(tiny("llama")), "--data", str(tmp_path / "pairs.jsonl"), "--device", "cpu"]
    command += ["data.max_length=48", "data.held_out=none", "train.steps=2", "train.batch_size=4", "--out", str(out)]
    command += ["run.threads=1", "train.kernels=default", "run.checkpoint_every=1"]
    assert call([*command, "too_long=cut"]) == 0
    began = [row["loss"] for row in read_rows(out / "journal.jsonl")[0] if "loss" in row]
    assert "8 judged prompts to learn from, 8 pairs, 16 answers; 1 answers were cut" in "\n".join(notices(out))
    begin_again(out)
    without(out, "too_long")
    assert call(command) == 0
    assert [row["loss"] for row in read_rows(out / "journal.jsonl")[0] if "loss" in row] == began
    assert "too_long='cut' is kept from this run's beginning; the default is now 'leave_out'" in notices(out)
    new = tmp_path / "new"
    assert call([word.replace(str(out), str(new)) for word in command]) == 0
    said = "\n".join(notices(new))
    assert "7 judged prompts to learn from, 7 pairs, 14 answers" in said
    assert "longer than 48 tokens (data.max_length or the context; too_long=cut keeps it)" in said
