"""Rows of different lengths through a model on a processor, with no padding computed.

All rows are laid one after another into one. Matrix products, norms and rotations then see real tokens only, and attention
alone looks at each row by itself (see row_attention.py). (On a GPU flash attention packs by itself.)
transformers' own packing would make one mask of all tokens by all tokens, and pay for it.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steersman.errors import ModelError
from steersman.models.row_attention import Read, attend_rows, attend_rows_backward

# What changes attention beyond its scale; a model that brings one of these is left to transformers.
_FOREIGN = ("softcap", "position_bias", "s_aux", "cache")


class Layout(NamedTuple):
    """Tokens of all rows in one, and where in the batch (row * time + position) each of the real ones stands. `read` None:
    all of them are read."""

    ids: Int[Tensor, "1 total"]
    positions: Int[Tensor, "1 total"]
    row_lengths: tuple[int, ...]
    longest: int
    places: Int[Tensor, " real"]
    read: Read | None


def lay_out(
    ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"], read: Int[Tensor, " batch"] | None = None
) -> Layout:
    """The real tokens in one row, filled up with a row that nobody reads, so that the widths that occur suit the products.
    `read` says how many tokens at the end of each row are read."""
    places = real.reshape(-1).nonzero().squeeze(1)
    counts = real.sum(1)
    lengths = [length for length in counts.tolist() if length]
    longest = max(lengths, default=0)
    spare = rounded(len(places)) - len(places)
    flat = torch.cat([ids.reshape(-1)[places], ids.new_zeros(spare)])
    positions = torch.cat([places % ids.shape[1], torch.arange(spare, device=ids.device)])
    rows = (*lengths, *([spare] if spare else []))
    if read is None or bool((read >= counts).all()):
        return Layout(flat[None], positions[None], rows, longest, places, None)
    first = (counts - read).repeat_interleave(counts)
    where = (positions[: len(places)] >= first).nonzero().squeeze(1)
    asking = [min(int(n), length) for n, length in zip(read.tolist(), counts.tolist(), strict=True) if length]
    return Layout(
        flat[None], positions[None], rows, longest, places[where], Read((*asking, *([0] if spare else [])), where)
    )


def rounded(total: int) -> int:
    """The next of the widths that are used: 16 apart. oneDNN keeps a kernel for each shape that it sees, so for it they are
    few: above 512 tokens about a sixteenth of the width apart."""
    few = cast(Any, torch.backends.mkldnn).matmul.fp32_precision != "none"
    step = max(16, 1 << max(0, total.bit_length() - 5)) if few else 16
    return -(-total // step) * step


def spread(
    flat: Float[Tensor, "total hidden"], layout: Layout, batch: int, time: int
) -> Float[Tensor, "batch time hidden"]:
    """Back to the shape of the batch, zero on padding and where nobody reads."""
    whole = flat.new_zeros(batch * time, flat.shape[1])
    return whole.index_copy(0, layout.places, flat[: len(layout.places)]).view(batch, time, -1)


@cache
def install() -> None:
    """Let transformers' sdpa attention understand `row_lengths`; without that argument nothing changes."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
    ) -> Any:
        row_lengths = rest.pop("row_lengths", None)
        if row_lengths is None:
            return usual(module, query, key, value, attention_mask, **rest)
        return attend_by_row(module, query, key, value, row_lengths, rest)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend


def attend_by_row(
    module: Any,
    query: Float[Tensor, "one heads total size"],
    key: Float[Tensor, "one key_heads total size"],
    value: Float[Tensor, "one key_heads total size"],
    row_lengths: tuple[int, ...],
    rest: dict[str, Any],
) -> tuple[Float[Tensor, "one total heads size"], None]:
    """Causal attention within each of the rows laid one after another: what transformers calls in a layer."""
    foreign = [name for name in _FOREIGN if rest.get(name) is not None]
    if foreign or rest.get("dropout") or sum(row_lengths) != query.shape[2]:
        raise ModelError(
            f"attention with {', '.join(foreign) or 'dropout or other tokens'} cannot be computed row by row; the model is "
            "used with padding instead"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    scale = rest.get("scaling") or query.shape[3] ** -0.5
    compute = cast(Callable[..., Tensor], _RowByRow.apply)
    return compute(query, key, value, row_lengths, scale).transpose(1, 2), None


class _RowByRow(torch.autograd.Function):
    """One autograd node for all rows."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, row_lengths: tuple[int, ...], scale: float
    ) -> Tensor:
        joined = _like_tokens(query)
        kept = attend_rows(query[0], key[0], value[0], row_lengths, row_lengths, scale, joined[0])
        ctx.row_lengths, ctx.scale = row_lengths, scale
        ctx.save_for_backward(query, key, value, joined, *kept)
        return joined

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, joined, *kept = ctx.saved_tensors
        grads = [_like_tokens(tensor) for tensor in (query, key, value)]
        seen = [tensor[0] for tensor in (query, key, value, joined)]
        into = [grad[0] for grad in grads]
        attend_rows_backward(grad_outputs[0][0], seen, kept, ctx.row_lengths, ctx.row_lengths, ctx.scale, into)
        return *grads, None, None


def _like_tokens(tensor: Tensor) -> Tensor:
    """New memory of this shape, in the order that the layer's next product wants: token after token."""
    one, heads, total, size = tensor.shape
    return tensor.new_empty(one, total, heads, size).transpose(1, 2)
