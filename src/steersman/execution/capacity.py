"""What this machine can do: free memory, and operations a second."""

import time
from collections.abc import Mapping
from contextlib import suppress

import torch
from torch import nn

from steersman.costs.memory import SHORT, Bytes, activations, learning
from steersman.costs.shape import Shape, shape_of_config
from steersman.errors import ModelError, UsageError
from steersman.execution.context import RunContext
from steersman.execution.free_memory import free_memory
from steersman.models.backbone import Backbone
from steersman.settings.parts import ComputeSettings

UNITS: Mapping[str, float] = {"GIB": 2**30, "MIB": 2**20, "GB": 1e9, "MB": 1e6, "G": 1e9, "M": 1e6}


def operations_a_second(width: int, device: torch.device) -> float:
    """Operations a second in matrix products of about this width, measured in a fraction of a second."""
    rows, width = 1024, min(2048, max(64, width))
    a, b = torch.randn(rows, width, device=device), torch.randn(width, 3 * width, device=device)
    torch.mm(a, b)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2.0 * rows * width * 3 * width / best


def memory_there(wish: str | None) -> float:
    """Bytes that may be used: the given amount (24GB, 500MB), or what is free on this machine."""
    if wish is not None:
        return _bytes_of(wish)
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    free = free_memory()
    if free is None:
        raise UsageError("how much memory is free cannot be told on this system; say it: --memory 16GB")
    return free


def card_token_budget(
    run: RunContext, model: nn.Module, compute: ComputeSettings, states: str, *, checkpointing: bool
) -> int:
    """Tokens of a micro-batch of training: as many as fit the GPU's free memory, where the settings name none.

    A minibatch that fits is then one pass. The result is a power of two, so that it is the same at the next start. For
    a model whose shape is unknown it is the usual number.
    """
    usual = run.token_budget
    backbones = [part for part in model.modules() if isinstance(part, Backbone)]
    if run.device.type != "cuda" or compute.tokens_per_micro_batch is not None or not backbones:
        return usual
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    free = float(torch.cuda.mem_get_info(run.device)[0])
    found: list[int] = []
    for backbone in backbones:
        with suppress(ModelError):  # a family whose shape is unknown
            shape = shape_of_config(backbone.config.to_dict(), name=backbone.name)
            found.append(tokens_in(free, shape, learning(trained, states), checkpointing=checkpointing))
    return min(run.world.exchange(min(found, default=usual)))


# Of what is free after gradients and moments, activations take this share: answers are sampled in the rest.
SHARE = 0.25
# More tokens in a pass make nothing faster. With fewer, running out of memory halves the number (`train.core`).
MOST_TOKENS, FEWEST_TOKENS = 2**17, 2**10


def tokens_in(free: float, shape: Shape, learns: Bytes, *, checkpointing: bool) -> int:
    """Tokens whose activations fit the share of `free` bytes that is left after gradients and Adam's moments, which are
    `learns`."""
    # rows long enough that no attention probabilities are kept, as on a GPU
    a_token = activations(shape, 1, SHORT + 1, checkpointing=checkpointing)
    room = SHARE * (free - learns.total)
    fitting = int(max(FEWEST_TOKENS, min(MOST_TOKENS, room / a_token)))
    return 1 << (fitting.bit_length() - 1)


def _bytes_of(words: str) -> float:
    text = words.strip().upper()
    for unit, size in UNITS.items():
        if text.endswith(unit):
            try:
                value = float(text.removesuffix(unit))
            except ValueError:
                break
            if value > 0:
                return value * size
    raise UsageError(f"memory {words!r} is no amount; expected a number with GB, MB, GiB or MiB, such as 24GB")
