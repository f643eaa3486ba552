"""Forward passes over rows of different lengths without computing padding.

All rows are concatenated into one. Matrix products, norms and rotary embeddings then process real tokens only;
attention alone treats each row separately (row_attention.py on a CPU, packed_attention.py on a GPU). transformers' own
packing would build a mask of all tokens by all tokens, which costs time and memory.
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
from steersman.models.packed_attention import Packed, attend_packed
from steersman.models.row_attention import RowLayout, attend_rows, attend_rows_backward

# Arguments that change attention beyond its scale; models that use one of these are left to transformers.
_UNSUPPORTED = ("softcap", "position_bias", "s_aux", "cache")


# Shorter prefixes are faster to compute twice than to share.
WORTH_SHARING = 8


class Layout(NamedTuple):
    """The tokens of all rows concatenated, their layout, and the batch index (row * time + position) of each output."""

    ids: Int[Tensor, "1 total"]
    positions: Int[Tensor, "1 total"]
    rows: RowLayout
    longest: int
    batch_index: Int[Tensor, " read"]


def lay_out(
    ids: Int[Tensor, "batch time"],
    real: Bool[Tensor, "batch time"],
    read: Int[Tensor, " batch"] | None = None,
    *,
    cut: bool = False,
) -> Layout:
    """Concatenate the real tokens, plus an unused row that rounds the width up to one that suits the matrix kernels.

    `read` gives the number of tokens at the end of each row whose output is needed (None: all). Prefixes that rows
    share before these are then laid out once. With `cut` the model outputs only the needed tokens.
    """
    counts = real.sum(1)
    longest = int(counts.max()) if len(counts) else 0
    shared = _shared(ids, counts, counts if read is None else read)
    before = torch.tensor([count for _, count in shared])
    real = real & (torch.arange(ids.shape[1], device=ids.device) >= before.to(ids.device)[:, None])
    places = real.reshape(-1).nonzero().squeeze(1)
    positions = places % ids.shape[1]
    spare = rounded(len(places)) - len(places)
    lengths = [*(counts.cpu() - before).tolist(), *([spare] if spare else [])]
    rows = RowLayout(tuple(lengths), tuple(shared) + (((len(shared), 0),) if spare else ()), tuple(lengths), None)
    if cut and read is not None and bool((read < counts).any()):
        where = (positions >= (counts - read).repeat_interleave(real.sum(1))).nonzero().squeeze(1)
        counts_read = torch.minimum(read, counts).tolist() + ([0] if spare else [])
        rows, places = rows._replace(query_counts=tuple(counts_read), query_positions=where), places[where]
    flat = torch.cat([ids[real], ids.new_zeros(spare)])
    positions = torch.cat([positions, torch.arange(spare, device=ids.device)])
    return Layout(flat[None], positions[None], rows, longest, places)


def _shared(
    ids: Int[Tensor, "batch time"], counts: Int[Tensor, " batch"], read: Int[Tensor, " batch"]
) -> list[tuple[int, int]]:
    """For each row, an earlier row with the same prefix, and the prefix's length (see `Rows`).

    Needed tokens are excluded.
    """
    same = (ids[1:] == ids[:-1]).int().cumprod(1).sum(1).tolist()
    room, lengths = (counts - read).tolist(), counts.tolist()
    shared = [(0, 0)] if lengths else []
    first, reach = 0, ids.shape[1]
    for row in range(1, len(lengths)):
        reach = min(reach, same[row - 1])
        count = min(reach, room[row], lengths[first])
        if count < WORTH_SHARING:
            first, reach, count = row, ids.shape[1], 0
        shared.append((first, count))
    return shared


def rounded(total: int) -> int:
    """The width rounded up: to a multiple of 16, or with oneDNN's kernels to one of few widths."""
    onednn = cast(Any, torch.backends.mkldnn).matmul.fp32_precision != "none"
    return onednn_width(total) if onednn else -(-total // 16) * 16


def onednn_width(total: int) -> int:
    """The width rounded up for oneDNN, which caches a kernel per shape.

    Above 512 tokens steps are about 1/16 of the width.
    """
    step = max(16, 1 << max(0, total.bit_length() - 5))
    return -(-total // step) * step


def to_batch_shape(
    flat: Float[Tensor, "total hidden"], places: Int[Tensor, " read"], batch: int, time: int
) -> Float[Tensor, "batch time hidden"]:
    """Back to the shape of the batch, with zeros at padding and at unneeded positions.

    `places` are the batch's indices (row * time + position) of the first ones.
    """
    padded = flat.new_zeros(batch * time, flat.shape[1])
    return padded.index_copy(0, places, flat[: len(places)]).view(batch, time, -1)


@cache
def install() -> None:
    """Patch transformers' sdpa attention to accept `rows`; without that argument nothing changes."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
    ) -> Any:
        rows = rest.pop("rows", None)
        if rows is None:
            return usual(module, query, key, value, attention_mask, **rest)
        if isinstance(rows, Packed):
            _refuse_unsupported(rest)
            return attend_packed(query, key, value, rows, _scale(query, rest)), None
        return attend_by_row(module, query, key, value, rows, rest)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend


def attend_by_row(
    module: Any,
    query: Float[Tensor, "one heads total size"],
    key: Float[Tensor, "one key_heads total size"],
    value: Float[Tensor, "one key_heads total size"],
    rows: RowLayout,
    rest: dict[str, Any],
) -> tuple[Float[Tensor, "one total heads size"], None]:
    """Causal attention within each of the concatenated rows, with the signature that transformers' layers expect."""
    if sum(rows.lengths) != query.shape[2]:
        raise _unsupported("other tokens")
    _refuse_unsupported(rest)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    compute = cast(Callable[..., Tensor], _RowByRow.apply)
    return compute(query * _scale(query, rest), key, value, rows.with_all_queries).transpose(1, 2), None


def _refuse_unsupported(rest: dict[str, Any]) -> None:
    """Raise if an argument changes attention beyond its scale."""
    unsupported = [name for name in _UNSUPPORTED if rest.get(name) is not None]
    if unsupported or rest.get("dropout"):
        raise _unsupported(", ".join(unsupported) or "dropout")


def _scale(query: Tensor, rest: dict[str, Any]) -> float:
    return rest.get("scaling") or query.shape[3] ** -0.5


def _unsupported(what: str) -> ModelError:
    return ModelError(f"attention with {what} cannot be computed row by row; the model is used with padding instead")


class _RowByRow(torch.autograd.Function):
    """One autograd node for all rows."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: RowLayout) -> Tensor:
        joined = _like_tokens(query)
        kept = attend_rows(query[0], key[0], value[0], rows, joined[0])
        ctx.rows = rows
        ctx.save_for_backward(query, key, value, joined, *kept)
        return joined

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, joined, *kept = ctx.saved_tensors
        grads = [_like_tokens(tensor) for tensor in (query, key, value)]
        inputs = [tensor[0] for tensor in (query, key, value, joined)]
        into = [grad[0] for grad in grads]
        attend_rows_backward(grad_outputs[0][0], inputs, kept, ctx.rows, into)
        return *grads, None


def _like_tokens(tensor: Tensor) -> Tensor:
    """An empty tensor of this shape whose memory is token-major, as the layer's next product expects."""
    one, heads, total, size = tensor.shape
    return tensor.new_empty(one, total, heads, size).transpose(1, 2)
