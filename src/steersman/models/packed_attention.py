"""Attention among rows that lie one after another, on a GPU: torch's own kernels, which skip what belongs to another row.

Half precision goes through flash attention, float32 (which that does not know) through the memory-efficient kernel.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# The longest row that is told to the kernels is a power of two from here on, so that compiled layers meet few numbers.
_SHORTEST = 64
_FROM_THE_TOP = 1

_flash: Any = torch.ops.aten._flash_attention_forward  # pyright: ignore[reportPrivateUsage]
_efficient: Any = torch.ops.aten._efficient_attention_forward  # pyright: ignore[reportPrivateUsage]


class Packed(NamedTuple):
    """Where each row begins, and where the last one ends; and how long the longest may be."""

    starts: Int[Tensor, " rows_and_end"]
    longest: int


def packed(lengths: tuple[int, ...], device: torch.device) -> Packed:
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return Packed(ends.to(device), max(_SHORTEST, 1 << max(0, max(lengths) - 1).bit_length()))


def attend_packed(
    query: Float[Tensor, "one heads total size"],
    key: Float[Tensor, "one key_heads total size"],
    value: Float[Tensor, "one key_heads total size"],
    rows: Packed,
    scale: float,
) -> Float[Tensor, "one total heads size"]:
    """Causal attention within each row."""
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    if torch.is_autocast_enabled("cuda"):
        kind = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    starts, longest = rows
    if query.dtype in (torch.float16, torch.bfloat16):
        given = (query[0], key[0], value[0], starts, starts, longest, longest)
        return _flash(*given, 0.0, True, False, scale=scale)[0][None]
    groups = query.shape[2] // key.shape[2]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=2), value.repeat_interleave(groups, dim=2)
    given = (query, key, value, None, starts, starts, longest, longest)
    return _efficient(*given, 0.0, _FROM_THE_TOP, True, scale=scale)[0]
