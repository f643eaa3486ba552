"""Rows of different lengths through a model on a processor, with no padding computed.

All rows are laid one after another into one. Matrix products, norms and rotations then see real tokens only, and attention
alone looks at each row by itself, through torch's flash attention for processors. (On a GPU flash attention packs by itself.)
transformers' own packing would make one mask of all tokens by all tokens, and pay for it.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steersman.errors import ModelError

# What changes attention beyond its scale; a model that brings one of these is left to transformers.
_FOREIGN = ("softcap", "position_bias", "s_aux", "cache")

_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # pyright: ignore[reportPrivateUsage]
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # pyright: ignore[reportPrivateUsage]


class Layout(NamedTuple):
    """Tokens of all rows in one, and where in the batch (row * time + position) each of the real ones stands."""

    ids: Int[Tensor, "1 total"]
    positions: Int[Tensor, "1 total"]
    row_lengths: tuple[int, ...]
    longest: int
    places: Int[Tensor, " real"]


def lay_out(ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"]) -> Layout:
    """The real tokens in one row, filled up with a row that nobody reads, so that the widths that occur are few: oneDNN
    keeps a kernel for each shape that it sees."""
    places = real.reshape(-1).nonzero().squeeze(1)
    lengths = [length for length in real.sum(1).tolist() if length]
    longest = max(lengths, default=0)
    spare = rounded(len(places)) - len(places)
    flat = torch.cat([ids.reshape(-1)[places], ids.new_zeros(spare)])
    positions = torch.cat([places % ids.shape[1], torch.arange(spare, device=ids.device)])
    return Layout(flat[None], positions[None], (*lengths, *([spare] if spare else [])), longest, places)


def rounded(total: int) -> int:
    """The next of the widths that are used: 16 apart below 512 tokens, and about a sixteenth of the width apart above."""
    step = max(16, 1 << max(0, total.bit_length() - 5))
    return -(-total // step) * step


def spread(
    flat: Float[Tensor, "total hidden"], layout: Layout, batch: int, time: int
) -> Float[Tensor, "batch time hidden"]:
    """Back to the shape of the batch, zero on padding."""
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


@contextmanager
def _plain_products() -> Generator[None]:
    settings = cast(Any, torch.backends.mkldnn).matmul
    before: str = settings.fp32_precision
    settings.fp32_precision = "none"
    try:
        yield
    finally:
        settings.fp32_precision = before


class _RowByRow(torch.autograd.Function):
    """One autograd node for all rows. Their products are small and each of another shape, which oneDNN would first have to
    prepare a kernel for; so they keep torch's own kernels, whatever the layers around them use."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, row_lengths: tuple[int, ...], scale: float
    ) -> Tensor:
        found: list[Tensor] = []
        sums: list[Tensor] = []
        with _plain_products():
            for parts in zip(*(tensor.split(row_lengths, dim=2) for tensor in (query, key, value)), strict=True):
                out, log_sums = _flash(*parts, 0.0, True, scale=scale)
                found.append(out)
                sums.append(log_sums)
        joined = _join(found)
        ctx.row_lengths, ctx.scale = row_lengths, scale
        ctx.save_for_backward(query, key, value, joined, *sums)
        return joined

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, joined, *sums = ctx.saved_tensors
        whole = (grad_outputs[0], query, key, value, joined)
        with _plain_products():
            found = [
                _flash_backward(*parts, log_sums, 0.0, True, scale=ctx.scale)
                for *parts, log_sums in zip(
                    *(tensor.split(ctx.row_lengths, dim=2) for tensor in whole), sums, strict=True
                )
            ]
        grads = [_join(parts) for parts in zip(*found, strict=True)]
        return *grads, None, None


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Rows one after another again, in the memory order that the layer's next product wants."""
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1).transpose(1, 2)
