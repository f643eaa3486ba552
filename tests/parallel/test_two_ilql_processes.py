"""Two processes learn what tokens are worth as one does: losses, held-out numbers, and the weights and Q heads that are
saved agree."""

import sys
from pathlib import Path

import pytest
from forked import run_command
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))

from test_two_reward_processes import numbers, write_judgements

from steersman.models.tiny import write_tiny_model

pytestmark = pytest.mark.slow


def train(processes: int, out: Path, *settings: str) -> None:
    done = run_command(["ilql", *settings, f"run.out={out}"], processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("lora", [(), ("model.lora.rank=2",)], ids=["full", "LoRA"])
def test_two_processes_learn_what_tokens_are_worth_as_one_does(lora, tmp_path):
    model = write_tiny_model(tmp_path / "model", "llama", layers=2)
    source, held = (write_judgements(tmp_path / f"{n}.jsonl", n, n) for n in (23, 12))
    settings = (
        *(f"model.path={model}", f"data.source={source}", f"data.held_out={held}", "run.device=cpu", "run.threads=1"),
        *("train.steps=4", "train.batch_size=6", "train.evaluate_every=2", "train.kernels=default", "polyak=0.3"),
        *("optimiser.learning_rate=1e-3", "optimiser.epsilon=1e-3", "train.tokens_per_micro_batch=128", *lora),
        "imitation_beta=0.5",
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(1, one, *settings)
    train(2, two, *settings)
    ours, theirs = numbers(two), numbers(one)
    assert len(ours) == len(theirs) > 5
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=2e-4, abs=2e-5)
    for name in ("adapter_model.safetensors" if lora else "model.safetensors", "heads.safetensors"):
        found, wanted = (load_file(out / "model" / name) for out in (two, one))
        assert found.keys() == wanted.keys()
        for key, tensor in wanted.items():
            assert (found[key] - tensor).abs().max() < 1e-4, key
    heads = load_file(two / "model" / "heads.safetensors")
    assert (heads["ilql.target.0.outer"] - heads["ilql.q.0.outer"]).abs().max() > 1e-5
    assert heads["ilql.target.0.outer"].abs().max() > 1e-5
