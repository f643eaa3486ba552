"""PPO in two processes is PPO in one: the same answers, numbers and weights; and they end, stop and fail together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import Ended, run_command
from safetensors.torch import load_file

from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.tiny import write_tiny_model
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.journal import read_rows
from steersman.text.tokeniser import load_tokeniser

pytestmark = pytest.mark.slow

REWARDS = Path(__file__).with_name("ppo_rewards.py")
PROMPTS = [
    "What is a dog?",
    "I like cricket.",
    "Why is exercise good?",
    "Hello",
    "So it is",
    "Tell me a story.",
    "Why?",
]
# Five prompts and two processes: the shares are not equal, nor is the number of their micro-batches.
USUAL = (
    *("iterations=4", "prompts_per_iteration=5", "samples_per_prompt=2", "sampling.max_new_tokens=6", "run.threads=1"),
    *("update.epochs=2", "update.minibatches=2", "optimiser.learning_rate=3e-3", "optimiser.epsilon=1e-3"),
    *("compute.kernels=default", "compute.tokens_per_micro_batch=60", "run.device=cpu", "evaluation.every=2"),
)
LAYOUTS = {
    "shared": ("layout=shared", "update.target_kl=0.2", "kl.controller=target", "kl.target=0.5"),
    # Texts to mix in are longer than answers, so that some micro-batches hold the one kind and some the other.
    "separate": (
        *("layout=separate", "keep=best", "score.missing_eos_penalty=0.5", "update.entropy_coefficient=0.01"),
        *("update.pretraining=texts.jsonl", "update.pretraining_coefficient=0.5"),
    ),
    "adapters": (
        *("layout=adapters", "model.lora.rank=4", "kl.loss_coefficient=0.1", "kl.limit=0.3"),
        "score.preference_over=2",
    ),
    "adapters-own-critic": (
        *("layout=adapters-own-critic", "model.lora.rank=4", "kl.estimator=full", "kl.controller=adaptive"),
        *("score.normalise=running", "advantage.whiten_rewards=true", "value_learning_rate=1e-2"),
    ),
    # No critic, and groups of answers that are read, scored and learned from in different processes.
    "rloo": (
        *("layout=shared", "advantage.estimator=rloo", "advantage.leave_out_equal=true", "samples_per_prompt=3"),
        *("kl.loss_coefficient=0.05", "score.overlong_tokens=3"),
    ),
    # Prompts drawn again, one ratio for an answer, right answers learned by likelihood.
    "redrawn": (
        *("layout=shared", "advantage.estimator=grpo", "samples_per_prompt=2", "update.ratio=sequence_mean"),
        *("advantage.leave_out_equal=true", "advantage.redraws=2", "update.positive_coefficient=0.1"),
        "kl.loss_correction=ratio",
    ),
    # Several turns: each process asks its own environments.
    "episodes": (
        *("layout=shared", f"environment.path={REWARDS}:Letters", "environment.max_turns=3"),
        *("environment.observation_tokens=8", "update.policy_loss=cispo", "advantage.length_adaptive=0.5"),
    ),
    # The held-out scorer and the features of the scorer's own answers are shared out too; findings come from the whole.
    "watched": (
        *("layout=shared", "samples_per_prompt=5", "watch.held_out_every=1", "watch.patience=1"),
        *(f"watch.held_out_scorer.path={REWARDS}:vowels", "watch.held_out_answers=11", "watch.limits.kl=0.05"),
        *(
            "watch.action=restore",
            "watch.actions.kl=raise-kl",
            "watch.limits.entropy=none",
            "watch.limits.takeover=none",
        ),
        *("watch.limits.novelty=none", "watch.limits.fall=none", "watch.limits.gap=none", "watch.limits.outliers=1"),
        "watch.limits.collapse=none",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model, another reward model, and prompts."""
    folder = tmp_path_factory.mktemp("ppo")
    write_tiny_model(folder / "policy", "llama", layers=2)
    base = write_tiny_model(folder / "other", "llama", layers=2, seed=5)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    model.scale = Scale(mean=0.4, std=0.5)
    save_reward_model(model, load_tokeniser(base), folder / "reward")
    for name, prompts in (("prompts", PROMPTS[:5]), ("held", PROMPTS[5:])):
        rows = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        (folder / f"{name}.jsonl").write_text(rows)
    texts = [
        f"The answer to question {i} is that nobody knows, " + "thank you for asking. " * (i % 4) for i in range(9)
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def words_of(place: Path, out: Path, *settings: str, scorer: str) -> list[str]:
    return [
        *("ppo", "--model", str(place / "policy"), "--scorer", scorer),
        *("--prompts", str(place / "prompts.jsonl"), f"prompts.held_out={place / 'held.jsonl'}", "--out", str(out)),
        *(*USUAL, *settings, "--json"),
    ]


def ppo(processes: int, place: Path, out: Path, *settings: str, scorer: str, **environment: str) -> Ended:
    """The command in so many processes, forked from one that has imported torch."""
    words = words_of(place, out, *settings, scorer=scorer)
    return run_command(words, processes=processes, cwd=place, environment=environment)


def launched_ppo(place: Path, out: Path, *settings: str, scorer: str):
    """The command in two processes as a person would give it, by torchrun."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "steersman"]
    words = [sys.executable, *launch, *words_of(place, out, *settings, scorer=scorer)]
    usual = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=usual, cwd=place, timeout=400, check=False)


def numbers(out: Path) -> list[dict[str, float]]:
    """The journal but what depends on time and on how rows were dealt."""
    rows = read_rows(out / "journal.jsonl")[0]
    other = ("time", "padding share")
    return [
        {k: float(v) for k, v in row.items() if k not in other and "second" not in k}
        for row in rows
        if "notice" not in row
    ]


def watched(out: Path) -> list[dict]:
    """What the watch found, its evidence by texts alone: their numbers are compared in the journal."""
    path = out / "watch.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = ("step", "detector", "limit", "action")
    return [{**{k: row[k] for k in kept}, "evidence": [one["answer"] for one in row["evidence"]]} for row in rows]


def drawn(out: Path) -> list[list[list[int]]]:
    return [
        [json.loads(line)["ids"] for line in file.read_text().splitlines()]
        for file in sorted((out / "samples").glob("iteration-*"))
    ]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The saved model and its critic, if it has one."""
    files = [*(out / "model").glob("*.safetensors"), *(out / "critic").glob("*.safetensors")]
    assert files
    return {f"{f.parent.name}/{name}": tensor for f in files for name, tensor in load_file(f).items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_draw_score_and_learn_what_one_does(layout, place, tmp_path):
    scorer = str(place / "reward") if layout in ("shared", "adapters", "watched") else f"{REWARDS}:vowels"
    one, two = tmp_path / "one", tmp_path / "two"
    results = []
    for processes, out in ((1, one), (2, two)):
        done = ppo(processes, place, out, *LAYOUTS[layout], scorer=scorer)
        assert done.returncode == 0, done.stderr[-3000:]
        # Of two processes one says how it went.
        results.append(json.loads(done.stdout))
    assert drawn(two) == drawn(one)
    ours, theirs = numbers(two), numbers(one)
    assert len(ours) == len(theirs) > 3
    for mine, other in zip(ours, theirs, strict=True):
        # Clipped or not is a yes or no: one token of 84 on the very edge may fall on either side by the last bit.
        assert mine.pop("clip fraction", 0.0) == pytest.approx(other.pop("clip fraction", 0.0), abs=1.01 / 84)
        assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert max(row["KL to reference"] for row in ours if "score" in row) > 0.01, "the policy has moved"
    found = [watched(out) for out in (one, two)]
    assert found[0] == found[1]
    assert layout != "watched" or ("kl", "raise-kl") in {
        (finding["detector"], finding["action"]) for finding in found[0]
    }
    for name in ("ending", "step", "best_step"):
        assert results[0][name] == results[1][name]
    assert results[1]["ending"] == ("KL limit" if layout == "adapters" else "finished")
    found = weights(two)
    for name, tensor in weights(one).items():
        assert torch.allclose(found[name], tensor, atol=1e-5), name


def test_a_stop_that_one_process_is_asked_for_stops_both_and_the_run_goes_on_as_if_it_had_not(place, tmp_path):
    scorer = f"{REWARDS}:told_to_stop_once"
    out, unbroken = tmp_path / "stopped", tmp_path / "unbroken"
    mark = tmp_path / "mark"
    first = ppo(2, place, out, scorer=scorer, STOPPED_ONCE=str(mark))
    assert first.returncode != 0
    assert first.stderr.count("stopped at step 2 as requested, and saved") >= 1
    assert [row["step"] for row in numbers(out) if "score" in row] == [1, 2]
    point = CheckpointStore(out / "checkpoints").latest()
    assert point is not None
    assert point.step == 2
    generators = load_file(point.path / "generators.safetensors")
    assert set(generators) == {"cpu/0", "cpu/1"}
    for place_of_run in (out, unbroken):
        done = ppo(2, place, place_of_run, scorer=scorer, STOPPED_ONCE=str(mark))
        assert done.returncode == 0, done.stderr[-3000:]
    assert numbers(out) == numbers(unbroken)
    assert drawn(out) == drawn(unbroken)
    found = weights(out)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights(unbroken).items())


def test_a_reward_that_fails_in_one_process_ends_both_with_its_words(place, tmp_path):
    done = launched_ppo(place, tmp_path / "run", "run.checkpoint_every=1", scorer=f"{REWARDS}:broken_in_one")
    assert done.returncode != 0
    assert "raised RuntimeError: no connection" in done.stderr
    assert "scoring failed on rank 1, so this rank stops too" in done.stderr
    point = CheckpointStore(tmp_path / "run" / "checkpoints").latest()
    assert point is not None
    assert point.step == 1
    assert CheckpointStore(tmp_path / "run" / "checkpoints").verify(point.path) == []


def test_processes_that_parted_meet_again_for_the_next_seed(place, tmp_path):
    short = ("iterations=1", "evaluation.prompts=1", "--seeds", "2")
    done = ppo(2, place, tmp_path / "run", *short, scorer=f"{REWARDS}:vowels")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = json.loads(done.stdout)["runs"]
    assert [Path(run["out"]).name for run in runs] == ["seed-0", "seed-1"]
    assert drawn(tmp_path / "run" / "seed-0") != drawn(tmp_path / "run" / "seed-1")
