"""Two processes learn from judgements what one learns: losses, held-out numbers, the reference's opinion and saved
weights agree."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from forked import run_command
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))

from test_two_reward_processes import numbers, write_judgements

from steersman.models.tiny import write_tiny_model

pytestmark = pytest.mark.slow

REWARDS = Path(__file__).with_name("ppo_rewards.py")


def train(processes: int, out: Path, *settings: str) -> None:
    done = run_command(["dpo", *settings, f"run.out={out}"], processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]


# kto asks the sharded model once more for its baseline; desensitised pairs cross rows; LoRA shards a frozen base.
VARIANTS = {
    "dpo": ("loss=dpo", "likelihood=0.3", "length=desensitised"),
    "kto": ("loss=kto", "undesirable_weight=0.5"),
    "LoRA": ("model.lora.rank=2", "label_smoothing=0.1"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_learn_from_judgements_what_one_learns(variant, tmp_path):
    model = write_tiny_model(tmp_path / "model", "llama", layers=2)
    source, held = (write_judgements(tmp_path / f"{n}.jsonl", n, n) for n in (23, 12))
    settings = (
        *(f"model.path={model}", f"data.source={source}", f"data.held_out={held}", "run.device=cpu", "run.threads=1"),
        *("train.steps=4", "train.batch_size=6", "train.evaluate_every=2", "train.kernels=default", "train.keep=last"),
        *("optimiser.learning_rate=1e-3", "optimiser.epsilon=1e-3", "train.tokens_per_micro_batch=128"),
        *("distance.prompts=0", *VARIANTS[variant]),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(1, one, *settings)
    train(2, two, *settings)
    ours, theirs = numbers(two), numbers(one)
    assert len(ours) == len(theirs) > 5
    for mine, other in zip(ours, theirs, strict=True):
        if mine["step"] <= 1:
            # Until the first step is done policy and reference are one, and which of two equal answers leads is a
            # matter of the last bit.
            for name in ("margin", "held-out margin"):
                assert abs(mine.pop(name, 0.0)) < 1e-5
                other.pop(name, None)
            for name in ("accuracy", "held-out accuracy"):
                mine.pop(name, None)
                other.pop(name, None)
        assert mine == pytest.approx(other, rel=2e-4, abs=2e-5)
    for path in sorted((one / "tokens").glob("*.bin")):
        if path.name.startswith(("reference", "mismatched_rows")):
            there = np.fromfile(two / "tokens" / path.name, np.float32)
            assert there == pytest.approx(np.fromfile(path, np.float32), abs=1e-4)
    name = "adapter_model.safetensors" if variant == "LoRA" else "model.safetensors"
    found, wanted = (load_file(out / "model" / name) for out in (two, one))
    began = None if variant == "LoRA" else load_file(model / "model.safetensors")
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert (found[key] - tensor).abs().max() < 1e-4, key
    if began is not None:
        assert max(float((tensor - began[key]).abs().max()) for key, tensor in wanted.items() if key in began) > 5e-4


@pytest.mark.parametrize("lora", [(), ("model.lora.rank=2",)], ids=["full", "LoRA"])
def test_two_processes_learn_from_their_own_answers_what_one_learns(lora, tmp_path):
    model = write_tiny_model(tmp_path / "model", "llama", layers=2)
    for name, count in (("prompts", 12), ("held", 4)):
        rows = "".join(json.dumps({"prompt": f"Tell me {name} {i}."}) + "\n" for i in range(count))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    settings = (
        *(f"model.path={model}", f"scorer.path={REWARDS}:vowels", "run.device=cpu", "run.threads=1"),
        *(f"prompts.source={tmp_path / 'prompts.jsonl'}", f"prompts.held_out={tmp_path / 'held.jsonl'}"),
        *("train.steps=3", "train.batch_size=5", "train.evaluate_every=2", "train.kernels=default"),
        *("optimiser.learning_rate=1e-3", "optimiser.epsilon=1e-3", "sampling.max_new_tokens=5", *lora),
    )
    results = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = run_command(["online-dpo", *settings, f"run.out={out}", "--json"], processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(done.stdout))
    ours, theirs = (numbers(tmp_path / str(processes)) for processes in (2, 1))
    assert len(ours) == len(theirs) > 5
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("accuracy", "held-out accuracy"):
            mine.pop(name, None)
            other.pop(name, None)
        assert mine == pytest.approx(other, rel=2e-4, abs=2e-5)
    assert results[1]["held_out"] == pytest.approx(results[0]["held_out"], rel=1e-3, abs=1e-4)
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    found, wanted = (load_file(tmp_path / str(processes) / "model" / name) for processes in (2, 1))
    for key, tensor in wanted.items():
        assert (found[key] - tensor).abs().max() < 1e-4, key
