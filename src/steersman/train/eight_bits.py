"""AdamW whose two moments take 8 bits a number, by torchao (block-wise dynamic quantisation, arXiv 2110.02861).

A moment of at least 4,096 numbers, in blocks of 256, is a byte for each number and a float32 scale for each block.
Smaller ones, and those whose size is no multiple of 256, stay in float32. The step itself is computed in float32.
"""

# torchao has no annotations
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# pyright: reportMissingImports=false, reportUnknownArgumentType=false, reportUntypedBaseClass=false

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from steersman.errors import MissingLibrary

BLOCK, FEWEST = 256, 4096


@runtime_checkable
class Quantised(Protocol):
    """A moment in 8 bits, as torchao holds it."""

    codes: Tensor
    scale: Tensor


def adamw_8bit(groups: Sequence[dict[str, Any]], betas: tuple[float, float], epsilon: float) -> torch.optim.Optimizer:
    """AdamW with moments in 8 bits on these groups, each with its learning rate and weight decay."""
    if importlib.util.find_spec("torchao") is None:
        raise MissingLibrary(
            "optimiser.states=8bit needs torchao, which is not installed; pip install 'steersman[8bit]', or leave "
            "optimiser.states out"
        )
    from torchao.optim import AdamW8bit

    class AdamWOfBytes(AdamW8bit):
        """torchao compiles the step once for each shape of a parameter. Without a GPU it runs as it is written: a
        compiler may be missing, and takes minutes."""

        def step(self, closure: Callable[[], float] | None = None) -> Any:
            compiled = any(p.is_cuda for group in self.param_groups for p in group["params"])
            with nullcontext() if compiled else torch.compiler.set_stance("force_eager"):
                return super().step(closure)

    return AdamWOfBytes(list(groups), betas=betas, eps=epsilon, block_size=BLOCK)


def is_8bit(optimiser: torch.optim.Optimizer) -> bool:
    return getattr(optimiser, "block_size", None) == BLOCK


def in_8bit(parameter: Tensor) -> bool:
    """Whether this parameter's moments are quantised."""
    return parameter.numel() >= FEWEST and parameter.numel() % BLOCK == 0


def parts_of(quantity: str, value: Tensor) -> dict[str, Tensor]:
    """The plain tensors that a quantity of an optimiser's state consists of, by name."""
    if isinstance(value, Quantised):
        return {f"{quantity}.codes": value.codes, f"{quantity}.scale": value.scale}
    return {quantity: value}


def quantised_state(parts: dict[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
    """A parameter's state from its `parts_of`, as tensors that AdamW in 8 bits steps with."""
    from torchao.optim.subclass_8bit import OptimState8bit

    device = parameter.device
    # its counter stays on the CPU, where torchao made it: powers on a GPU differ in the last bit
    state = {name: value.clone() for name, value in parts.items() if "." not in name}
    state = {name: value if name == "step" else value.to(device) for name, value in state.items()}
    for quantity in ("exp_avg", "exp_avg_sq"):
        if f"{quantity}.codes" in parts:
            signed = quantity == "exp_avg"
            found = OptimState8bit.zeros(parameter.shape, signed, BLOCK, device, dtype=parameter.dtype)
            found.codes.copy_(parts[f"{quantity}.codes"])
            found.scale.copy_(parts[f"{quantity}.scale"])
            state[quantity] = found
    return state
