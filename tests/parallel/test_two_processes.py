"""Two processes learn what one learns: losses, gradients, weights and optimiser agree."""

import json
from pathlib import Path

import pytest
import torch
from forked import run_script
from safetensors.torch import load_file

from steersman.models.tiny import write_tiny_model

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(processes: int, model: Path, out: Path) -> dict:
    out.mkdir()
    done = run_script(SCRIPT, str(model), str(out), processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "numbers.json").read_text())


def normed(gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    norm = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    return {name: gradient / norm for name, gradient in gradients.items()}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_two_processes_give_the_losses_gradients_and_weights_of_one(family: str, tmp_path):
    model = write_tiny_model(tmp_path / "model", family, layers=2)
    one, two = run(1, model, tmp_path / "one"), run(2, model, tmp_path / "two")
    assert (one["size"], two["size"]) == (1, 2)
    assert one["tokens"] == two["tokens"]
    for name in ("losses", "norms"):
        assert two[name] == pytest.approx(one[name], rel=1e-5)
    assert two["held_out"] == pytest.approx(one["held_out"], rel=1e-5)
    for file, tolerance in (("gradients", 1e-6), ("weights", 1e-5), ("optimiser", 1e-5)):
        ours, theirs = (
            load_file(tmp_path / "two" / f"{file}.safetensors"),
            load_file(tmp_path / "one" / f"{file}.safetensors"),
        )
        assert set(ours) == set(theirs)
        if file == "gradients":
            # One process clips within its optimiser, two clip their gradients: the same step, by another factor.
            ours, theirs = normed(ours), normed(theirs)
        for name, tensor in theirs.items():
            assert torch.allclose(ours[name], tensor, rtol=1e-4, atol=tolerance), f"{file}: {name}"
    generators = load_file(tmp_path / "two" / "generators.safetensors")
    assert set(generators) == {"cpu/0", "cpu/1"}
