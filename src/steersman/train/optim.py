"""AdamW on the trainable parameters, without weight decay on vectors (norms, biases); its state by parameter name.

Its two moments are float32, or take 8 bits a number (`eight_bits`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steersman.errors import CheckpointError, UsageError
from steersman.parallel.shard import part_like, whole
from steersman.train.eight_bits import adamw_8bit, in_8bit, is_8bit, parts_of, quantised_state

States = Literal["float32", "8bit"]


@dataclass(frozen=True)
class Optimisation:
    """An optimiser with its schedule and its gradient clipping."""

    optimiser: torch.optim.Optimizer
    rate_at: Callable[[int], float]
    """What the learning rate is multiplied by at a step."""
    max_grad_norm: float

    @property
    def decides_on_device(self) -> bool:
        """Whether the optimiser clips and skips by tensors on the device (torch's fused ones do)."""
        return bool(getattr(self.optimiser, "_step_supports_amp_scaling", False)) and any(
            group.get("fused") for group in self.optimiser.param_groups
        )


def step_if_finite(optimiser: torch.optim.Optimizer, norm: Tensor, terms: Sequence[Tensor], max_norm: float) -> None:
    """Clip gradients of this norm and step, unless the norm or a term is not finite. The CPU does not wait.

    Torch's fused optimisers divide gradients by `grad_scale` and leave everything as it is where `found_inf` is 1, as a
    GradScaler needs it.
    """
    checked = torch.stack([norm, *(term.to(norm) for term in terms)]).sum()
    scaled: Any = optimiser
    # a number minus itself is 0 only if it is finite
    scaled.found_inf = (checked - checked).ne(0).float()
    # as torch's clip_grad_norm_: gradients times max_norm / (norm + 1e-6), if that is below 1
    scaled.grad_scale = ((norm + 1e-6) / max_norm).clamp(min=1.0).float()
    try:
        optimiser.step()
    finally:
        del scaled.found_inf, scaled.grad_scale


def adamw(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    epsilon: float,
    learning_rates: Mapping[int, float] | None = None,
    states: States = "float32",
) -> torch.optim.Optimizer:
    """AdamW on the trainable parameters. `learning_rates` overrides the learning rate of parameters, by their id()."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for _, parameter in trainable(model):
        rate = (learning_rates or {}).get(id(parameter), learning_rate)
        groups.setdefault((rate, weight_decay if parameter.dim() >= 2 else 0.0), []).append(parameter)
    if not groups:
        raise UsageError(
            "nothing is trainable: every parameter is frozen. Add an adapter (model.lora.rank=16) or unfreeze the "
            "model."
        )
    filled = [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
    if states == "8bit":
        return adamw_8bit(filled, betas, epsilon)
    # fused: one kernel call for all parameters; the same arithmetic as the plain loop, in one pass over memory
    return torch.optim.AdamW(filled, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as whole tensors named `<quantity>/<parameter name>`. A collective: all ranks call it."""
    found: dict[str, Tensor] = {}
    for name, parameter in trainable(model):
        for quantity, value in optimiser.state.get(parameter, {}).items():
            for part, tensor in parts_of(quantity, value).items():
                found[f"{part}/{name}"] = whole(tensor)
    return found


def load_optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    unknown = set(tensors)
    for name, parameter in trainable(model):
        parts = {key.partition("/")[0]: value for key, value in tensors.items() if key.partition("/")[2] == name}
        if not parts:
            continue
        unknown -= {f"{part}/{name}" for part in parts}
        quantised = is_8bit(optimiser) and in_8bit(parameter)
        if quantised != ("exp_avg.codes" in parts):
            raise CheckpointError(
                f"the checkpoint's moments of {name} are {'float32' if quantised else 'in 8 bits'}, and this run's "
                f"are {'in 8 bits' if quantised else 'float32'}; resume with the optimiser.states that the run was "
                "started with"
            )
        if is_8bit(optimiser):
            optimiser.state[parameter] = quantised_state(parts, parameter)
            continue
        # Adam's step counter is a scalar on every rank; the moments have the parameter's shape and sharding.
        optimiser.state[parameter] = {
            part: value.clone().to(parameter.device) if value.dim() == 0 else part_like(value, parameter)
            for part, value in parts.items()
        }
    if unknown:
        raise CheckpointError(
            f"the checkpoint's optimiser state has {len(unknown)} tensors that this model lacks, such as "
            f"{sorted(unknown)[0]!r}; resume with the settings that the run was started with"
        )
