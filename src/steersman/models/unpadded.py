"""Rows of different lengths through a model, with no padding computed.

All rows are laid one after another into one. Matrix products, norms and rotations then see real tokens only, and attention
alone looks at each row by itself (on a processor see row_attention.py, on a GPU packed_attention.py).
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
from steersman.models.packed_attention import Packed, attend_packed
from steersman.models.row_attention import Rows, attend_rows, attend_rows_backward

# What changes attention beyond its scale; a model that brings one of these is left to transformers.
_FOREIGN = ("softcap", "position_bias", "s_aux", "cache")


# Fewer tokens than these are sooner computed twice than shared.
WORTH_SHARING = 8


class Layout(NamedTuple):
    """Tokens of all rows in one; how they lie there; and where in the batch (row * time + position) what comes out stands."""

    ids: Int[Tensor, "1 total"]
    positions: Int[Tensor, "1 total"]
    rows: Rows
    longest: int
    places: Int[Tensor, " read"]


def lay_out(
    ids: Int[Tensor, "batch time"],
    real: Bool[Tensor, "batch time"],
    read: Int[Tensor, " batch"] | None = None,
    *,
    cut: bool = False,
) -> Layout:
    """The real tokens in one row, filled up with a row that nobody reads, so that the widths that occur suit the products.

    `read` says how many tokens at the end of each row are read, if not all. What rows have in common before them is then laid out
    once; and if `cut` is True, nothing else comes out of the model.
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
    rows = Rows(tuple(lengths), tuple(shared) + (((len(shared), 0),) if spare else ()), tuple(lengths), None)
    if cut and read is not None and bool((read < counts).any()):
        where = (positions >= (counts - read).repeat_interleave(real.sum(1))).nonzero().squeeze(1)
        asking = torch.minimum(read, counts).tolist() + ([0] if spare else [])
        rows, places = rows._replace(asking=tuple(asking), places=where), places[where]
    flat = torch.cat([ids[real], ids.new_zeros(spare)])
    positions = torch.cat([positions, torch.arange(spare, device=ids.device)])
    return Layout(flat[None], positions[None], rows, longest, places)


def _shared(
    ids: Int[Tensor, "batch time"], counts: Int[Tensor, " batch"], read: Int[Tensor, " batch"]
) -> list[tuple[int, int]]:
    """For each row, an earlier one that begins as it does, and with how many tokens (see `Rows`). What is read is never shared."""
    same = (ids[1:] == ids[:-1]).int().cumprod(1).sum(1).tolist()
    room, lengths = (counts - read).tolist(), counts.tolist()
    found = [(0, 0)] if lengths else []
    first, reach = 0, ids.shape[1]
    for row in range(1, len(lengths)):
        reach = min(reach, same[row - 1])
        count = min(reach, room[row], lengths[first])
        if count < WORTH_SHARING:
            first, reach, count = row, ids.shape[1], 0
        found.append((first, count))
    return found


def rounded(total: int) -> int:
    """The next of the widths that are used: 16 apart, or few where oneDNN's kernels are set."""
    onednn = cast(Any, torch.backends.mkldnn).matmul.fp32_precision != "none"
    return one_of_few(total) if onednn else -(-total // 16) * 16


def one_of_few(total: int) -> int:
    """The next of the widths for oneDNN, which keeps a kernel for each shape that it sees: above 512 tokens about a sixteenth of the
    width apart."""
    step = max(16, 1 << max(0, total.bit_length() - 5))
    return -(-total // step) * step


def spread(
    flat: Float[Tensor, "total hidden"], layout: Layout, batch: int, time: int
) -> Float[Tensor, "batch time hidden"]:
    """Back to the shape of the batch, zero on padding and where nobody reads."""
    whole = flat.new_zeros(batch * time, flat.shape[1])
    return whole.index_copy(0, layout.places, flat[: len(layout.places)]).view(batch, time, -1)


@cache
def install() -> None:
    """Let transformers' sdpa attention understand `rows`; without that argument nothing changes."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
    ) -> Any:
        rows = rest.pop("rows", None)
        if rows is None:
            return usual(module, query, key, value, attention_mask, **rest)
        if isinstance(rows, Packed):
            _refuse_foreign(rest)
            return attend_packed(query, key, value, rows, _scale(query, rest)), None
        return attend_by_row(module, query, key, value, rows, rest)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend


def attend_by_row(
    module: Any,
    query: Float[Tensor, "one heads total size"],
    key: Float[Tensor, "one key_heads total size"],
    value: Float[Tensor, "one key_heads total size"],
    rows: Rows,
    rest: dict[str, Any],
) -> tuple[Float[Tensor, "one total heads size"], None]:
    """Causal attention within each of the rows laid one after another: what transformers calls in a layer."""
    if sum(rows.lengths) != query.shape[2]:
        raise _cannot("other tokens")
    _refuse_foreign(rest)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    compute = cast(Callable[..., Tensor], _RowByRow.apply)
    return compute(query * _scale(query, rest), key, value, rows.read_whole).transpose(1, 2), None


def _refuse_foreign(rest: dict[str, Any]) -> None:
    """Nothing but its scale may change attention."""
    foreign = [name for name in _FOREIGN if rest.get(name) is not None]
    if foreign or rest.get("dropout"):
        raise _cannot(", ".join(foreign) or "dropout")


def _scale(query: Tensor, rest: dict[str, Any]) -> float:
    return rest.get("scaling") or query.shape[3] ** -0.5


def _cannot(what: str) -> ModelError:
    return ModelError(f"attention with {what} cannot be computed row by row; the model is used with padding instead")


class _RowByRow(torch.autograd.Function):
    """One autograd node for all rows."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
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
        seen = [tensor[0] for tensor in (query, key, value, joined)]
        into = [grad[0] for grad in grads]
        attend_rows_backward(grad_outputs[0][0], seen, kept, ctx.rows, into)
        return *grads, None


def _like_tokens(tensor: Tensor) -> Tensor:
    """New memory of this shape, in the order that the layer's next product wants: token after token."""
    one, heads, total, size = tensor.shape
    return tensor.new_empty(one, total, heads, size).transpose(1, 2)
