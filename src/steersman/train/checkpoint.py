"""A training checkpoint for bit-exact resume, in files without code: safetensors and JSON.

weights.safetensors    trainable parameters and persistent buffers by name, as whole (unsharded) tensors
optimiser.safetensors  the optimiser's state
generators.safetensors the state of each random generator, by rank and device
state.json             step, token budget and the training loop's own state
"""

# torch's own annotations are partial here
# pyright: reportUnknownVariableType=false

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from steersman.errors import CheckpointError
from steersman.parallel.shard import part_like, whole
from steersman.parallel.world import World
from steersman.train.core import Learner
from steersman.train.finite import check_written
from steersman.train.optim import load_optimiser_tensors, optimiser_tensors, trainable


def weight_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and persistent buffers as whole tensors. A collective: all ranks call it together."""
    names = set(model.state_dict().keys())
    buffers = {name: whole(buffer) for name, buffer in model.named_buffers() if name in names}
    return {**{name: whole(p) for name, p in trainable(model)}, **buffers}


def load_weight_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    targets: dict[str, Tensor] = {**dict(trainable(model)), **dict(model.named_buffers())}
    missing = sorted(name for name, _ in trainable(model) if name not in tensors)
    unknown = sorted(name for name in tensors if name not in targets)
    if missing or unknown:
        raise CheckpointError(
            f"the checkpoint does not fit this model: {len(missing)} parameters missing (such as {missing[:1]}), "
            f"{len(unknown)} unknown (such as {unknown[:1]}); resume with the settings that the run was started with"
        )
    with torch.no_grad():
        for name, value in tensors.items():
            target = targets[name]
            if tuple(target.shape) != tuple(value.shape):
                raise CheckpointError(
                    f"parameter {name} has shape {tuple(value.shape)} in the checkpoint and {tuple(target.shape)} in "
                    "the model; resume with the settings that the run was started with"
                )
            target.copy_(part_like(value, target))


def generator_tensors(world: World) -> dict[str, Tensor]:
    """Random generator states, with one key per rank: a shared key would give every rank the state of rank 0."""
    found = {f"cpu/{rank}": state for rank, state in enumerate(world.gather(torch.get_rng_state()))}
    if world.device.type == "cuda":
        states = world.gather(torch.cuda.get_rng_state(world.device))
        found.update({f"cuda/{rank}": state for rank, state in enumerate(states)})
    return found


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in memory: whole tensors, the same on every rank."""

    weights: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    generators: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def bytes(self) -> int:
        groups = (self.weights, self.optimiser, self.generators)
        return sum(t.numel() * t.element_size() for group in groups for t in group.values())

    def write(self, folder: Path) -> None:
        save_file(self.weights, folder / "weights.safetensors")
        save_file(self.optimiser, folder / "optimiser.safetensors")
        save_file(self.generators, folder / "generators.safetensors")
        (folder / "state.json").write_text(json.dumps(self.state, indent=1, sort_keys=True))


def take_snapshot(learner: Learner[Any, Any], facts: Mapping[str, Any], world: World) -> Snapshot:
    """A checkpoint of the present state. Raises NotFinite if its weights or moments cannot be used.

    A collective: all ranks call it together, and one of them writes the result.
    """
    progress = learner.progress
    state = {
        "step": progress.step,
        "token_budget": progress.token_budget,
        "wished_budget": learner.requested_budget,
        "bad_in_a_row": progress.bad_in_a_row,
        "processes": world.size,
        "facts": dict(facts),
    }
    weights, moments = weight_tensors(learner.model), optimiser_tensors(learner.model, learner.optimiser)
    check_written(f"the checkpoint after optimiser step {progress.step}", weights, moments)
    return Snapshot(weights, moments, generator_tensors(world), state)


def load_checkpoint(folder: Path, learner: Learner[Any, Any], world: World) -> dict[str, Any]:
    """Load a verified checkpoint; returns the training loop's own state ("facts")."""
    state = json.loads((folder / "state.json").read_text())
    load_weight_tensors(learner.model, load_file(folder / "weights.safetensors"))
    load_optimiser_tensors(learner.model, learner.optimiser, load_file(folder / "optimiser.safetensors"))
    generators = load_file(folder / "generators.safetensors")
    # With more ranks than before, the new ones keep their fresh generators: not bit-exact, as the stamp records.
    if f"cpu/{world.rank}" in generators:
        torch.set_rng_state(generators[f"cpu/{world.rank}"])
    if world.device.type == "cuda" and f"cuda/{world.rank}" in generators:
        torch.cuda.set_rng_state(generators[f"cuda/{world.rank}"], world.device)
    learner.progress.step = state["step"]
    # A token budget reduced after running out of memory stays reduced, unless the settings now have another one.
    if state["wished_budget"] == learner.requested_budget:
        learner.progress.token_budget = state["token_budget"]
    learner.progress.bad_in_a_row = state["bad_in_a_row"]
    return state["facts"]
