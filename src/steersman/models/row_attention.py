"""Causal attention within each of many rows that lie one after another, forward and backward, on a processor.

A short row's probabilities are made whole, kept, and used again in the backward pass: for so few tokens that costs less than
torch's flash attention, whose blocks are made for long rows. All tensors here are [heads, tokens, size] views, in any memory
order whose last axis is dense.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

# Up to here whole probabilities win (2 cores, 4 heads of 32: at 76 tokens 190 against 280 microseconds a row, forward and
# backward; from about 300 tokens on flash attention, which skips what lies in the future, is as fast).
SHORT = 160

_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # pyright: ignore[reportPrivateUsage]
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # pyright: ignore[reportPrivateUsage]
_softmax_backward: Any = torch._softmax_backward_data  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def attend_rows(
    query: Float[Tensor, "heads total size"],
    key: Float[Tensor, "heads total size"],
    value: Float[Tensor, "heads total size"],
    row_lengths: tuple[int, ...],
    scale: float,
    into: Float[Tensor, "heads total size"],
) -> list[Tensor]:
    """Write each row's attention into `into`; give back what the backward pass needs of each row."""
    kept: list[Tensor] = []
    with _plain_products():
        rows = zip(*(tensor.split(row_lengths, dim=1) for tensor in (query, key, value, into)), strict=True)
        for q, k, v, out in rows:
            if _whole(q):
                scores = torch.baddbmm(_future(q.shape[1], q.dtype), q, k.transpose(1, 2), alpha=scale)
                probabilities = torch.softmax(scores, dim=-1)
                out.copy_(torch.bmm(probabilities, v))
                kept.append(probabilities)
            else:
                found, log_sums = _flash(q[None], k[None], v[None], 0.0, True, scale=scale)
                out.copy_(found[0])
                kept.append(log_sums)
    return kept


def attend_rows_backward(
    grad: Float[Tensor, "heads total size"],
    tensors: Sequence[Float[Tensor, "heads total size"]],
    kept: Sequence[Tensor],
    row_lengths: tuple[int, ...],
    scale: float,
    into: Sequence[Float[Tensor, "heads total size"]],
) -> None:
    """`tensors` are query, key, value and what came out; the gradients of query, key and value are written into `into`."""
    with _plain_products():
        rows = zip(*(tensor.split(row_lengths, dim=1) for tensor in (grad, *tensors, *into)), strict=True)
        for (g, q, k, v, out, q_grad, k_grad, v_grad), own in zip(rows, kept, strict=True):
            if _whole(q):
                v_grad.copy_(torch.bmm(own.transpose(1, 2), g))
                by_score = _softmax_backward(torch.bmm(g, v.transpose(1, 2)), own, -1, own.dtype)
                torch.mul(torch.bmm(by_score, k), scale, out=q_grad)
                torch.mul(torch.bmm(by_score.transpose(1, 2), q), scale, out=k_grad)
            else:
                found = _flash_backward(g[None], q[None], k[None], v[None], out[None], own, 0.0, True, scale=scale)
                for here, there in zip((q_grad, k_grad, v_grad), found, strict=True):
                    here.copy_(there[0])


def _whole(query: Tensor) -> bool:
    return query.shape[1] <= SHORT and query.dtype in (torch.float32, torch.float64)


@cache
def _future(length: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of a row so that no token sees a later one."""
    return torch.full((length, length), float("-inf"), dtype=dtype).triu_(1)


@contextmanager
def _plain_products() -> Generator[None]:
    """Rows' products are small and each of another shape, which oneDNN would first have to prepare a kernel for; so they keep
    torch's own kernels, whatever the layers around them use."""
    settings = cast(Any, torch.backends.mkldnn).matmul
    before: str = settings.fp32_precision
    settings.fp32_precision = "none"
    try:
        yield
    finally:
        settings.fp32_precision = before
