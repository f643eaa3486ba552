"""Attention within concatenated rows on a GPU in half precision: torch's variable-length flash attention.

Flash attention does not support float32. Nothing is rounded for it: in float32 on a GPU, rows are padded.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# The longest row passed to the kernel is rounded up to a power of two, at least this: compiled layers see few values.
_SHORTEST = 64

_flash: Any = torch.ops.aten._flash_attention_forward  # pyright: ignore[reportPrivateUsage]


class Packed(NamedTuple):
    """The start of each row, then the end of the last one; and an upper bound of the row length."""

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
    inputs = (query[0], key[0], value[0], starts, starts, longest, longest)
    return _flash(*inputs, 0.0, True, False, scale=scale)[0][None]
