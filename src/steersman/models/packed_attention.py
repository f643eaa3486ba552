"""Attention among rows that lie one after another, on a GPU in half precision: torch's flash attention, which skips what belongs to
another row. It knows no float32, and nothing is rounded to please it: in float32 rows keep their padding there.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# The longest row that is told to the kernels is a power of two from here on, so that compiled layers meet few numbers.
_SHORTEST = 64

_flash: Any = torch.ops.aten._flash_attention_forward  # pyright: ignore[reportPrivateUsage]


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
    given = (query[0], key[0], value[0], starts, starts, longest, longest)
    return _flash(*given, 0.0, True, False, scale=scale)[0][None]
