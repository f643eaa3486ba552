"""Attention within concatenated rows on a GPU in half precision: torch's variable-length flash attention.

Flash attention does not support float32. Nothing is rounded for it: in float32 on a GPU, rows are padded. On a CPU,
where tests and counts run what a GPU runs, it is one custom operation in plain torch.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false

import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_flash: Any = torch.ops.aten._flash_attention_forward  # pyright: ignore[reportPrivateUsage]


class Packed(NamedTuple):
    """The start of each row, then the end of the last one; and an upper bound of the row length.

    With `public` attention is torch.nn.attention.varlen's, otherwise the operation beneath it.
    """

    starts: Int[Tensor, " rows_and_end"]
    bound: int
    public: bool = False


def use_public_attention(modules: Iterable[nn.Module]) -> None:
    """Let every backbone in these modules attend to packed rows by torch.nn.attention.varlen."""
    for module in modules:
        for part in module.modules():
            if hasattr(part, "public_attention"):
                part.public_attention = True  # pyright: ignore[reportArgumentType]


def attend_packed(
    query: Float[Tensor, "one heads total size"],
    key: Float[Tensor, "one key_heads total size"],
    value: Float[Tensor, "one key_heads total size"],
    rows: Packed,
    scale: float,
) -> Float[Tensor, "one total heads size"]:
    """Causal attention within each row."""
    device = query.device.type
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    if torch.is_autocast_enabled(device):
        kind = torch.get_autocast_dtype(device)
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    if device == "cpu":
        return _attend(query[0], key[0], value[0], rows.starts, scale)[None]
    if rows.public:
        return _by_public_interface(query[0], key[0], value[0], rows, scale)[None]
    starts, bound, _ = rows
    inputs = (query[0], key[0], value[0], starts, starts, bound, bound)
    return _flash(*inputs, 0.0, True, False, scale=scale)[0][None]


def _by_public_interface(query: Tensor, key: Tensor, value: Tensor, rows: Packed, scale: float) -> Tensor:
    """torch 2.11 has this function without some of the arguments of later versions."""
    from torch.nn.attention.varlen import varlen_attn

    known = _parameters()
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "scale" in known:
        options["scale"] = scale
    else:
        query = query * (scale * query.shape[-1] ** 0.5)
    groups = query.shape[1] // key.shape[1]
    if "enable_gqa" in known:
        options["enable_gqa"] = groups > 1
    elif groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    found: Any = varlen_attn(query, key, value, rows.starts, rows.starts, rows.bound, rows.bound, **options)
    return found


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


@torch.library.custom_op("steersman::attend_packed", mutates_args=(), device_types="cpu")
def _attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    found = torch.zeros_like(query)
    for span in _spans(starts):
        weights = _weights(query[span], key[span], scale)
        found[span] = torch.einsum("hqk,khd->qhd", weights, _repeated(value[span], query)).to(query.dtype)
    return found


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    return torch.empty_like(query)


@torch.library.custom_op("steersman::attend_packed_backward", mutates_args=(), device_types="cpu")
def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    grads = [torch.zeros_like(one) for one in (query, key, value)]
    heads = key.shape[1]
    for span in _spans(starts):
        q, g = query[span].float(), grad[span].float()
        k, v = _repeated(key[span], query), _repeated(value[span], query)
        weights = _weights(query[span], key[span], scale)
        of_weights = torch.einsum("qhd,khd->hqk", g, v)
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True)) * scale
        parts = (
            torch.einsum("hqk,khd->qhd", of_scores, k),
            torch.einsum("hqk,qhd->khd", of_scores, q).unflatten(1, (heads, -1)).sum(2),
            torch.einsum("hqk,qhd->khd", weights, g).unflatten(1, (heads, -1)).sum(2),
        )
        for whole, part in zip(grads, parts, strict=True):
            whole[span] = part.to(whole.dtype)
    return grads[0], grads[1], grads[2]


@_attend_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.scale = inputs[4]


def _learn(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_attend_backward(grad.contiguous(), *ctx.saved_tensors, ctx.scale), None, None)


_attend.register_autograd(_learn, setup_context=_keep)


def _spans(starts: Tensor) -> Iterator[slice]:
    return (slice(first, end) for first, end in pairwise(starts.tolist()) if end > first)


def _repeated(heads: Tensor, like: Tensor) -> Tensor:
    """Key or value heads, once for each query head, in float32."""
    return heads.float().repeat_interleave(like.shape[1] // heads.shape[1], dim=1)


def _weights(query: Tensor, key: Tensor, scale: float) -> Tensor:
    scores = torch.einsum("qhd,khd->hqk", query.float(), _repeated(key, query)) * scale
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1)
