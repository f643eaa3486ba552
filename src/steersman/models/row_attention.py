"""Causal attention within each of many rows that lie one after another, forward and backward, on a processor.

A short row's probabilities are made whole, kept, and used again in the backward pass: for so few tokens that costs less than
torch's flash attention, whose blocks are made for long rows. All tensors here are [heads, tokens, size] views, in any memory
order whose last axis is dense.

`read` is how many tokens at the end of each row ask; queries and what comes out then hold only these, keys and values all.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Up to here whole probabilities win (2 cores, 4 heads of 32: at 76 tokens 190 against 280 microseconds a row, forward and
# backward; from about 300 tokens on flash attention, which skips what lies in the future, is as fast).
SHORT = 160


class Read(NamedTuple):
    """How many tokens at the end of each row are read, and where they stand among the tokens of all rows."""

    lengths: tuple[int, ...]
    places: Int[Tensor, " read"]


_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # pyright: ignore[reportPrivateUsage]
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # pyright: ignore[reportPrivateUsage]
_softmax_backward: Any = torch._softmax_backward_data  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def attend_rows(
    query: Float[Tensor, "heads asking size"],
    key: Float[Tensor, "heads total size"],
    value: Float[Tensor, "heads total size"],
    row_lengths: tuple[int, ...],
    read: tuple[int, ...],
    scale: float,
    into: Float[Tensor, "heads asking size"],
) -> list[Tensor]:
    """Write each row's attention into `into`; give back what the backward pass needs of each row."""
    kept: list[Tensor] = []
    with _plain_products():
        rows = zip(
            *(tensor.split(read, dim=1) for tensor in (query, into)),
            *(tensor.split(row_lengths, dim=1) for tensor in (key, value)),
            strict=True,
        )
        for q, out, k, v in rows:
            if _whole(q, k):
                unseen = _future(q.shape[1], k.shape[1], q.dtype)
                scores = torch.baddbmm(unseen, q, k.transpose(1, 2), alpha=scale)
                probabilities = torch.softmax(scores, dim=-1)
                out.copy_(torch.bmm(probabilities, v))
                kept.append(probabilities)
            else:
                whole = _at_the_end(q, k.shape[1])
                found, log_sums = _flash(whole[None], k[None], v[None], 0.0, True, scale=scale)
                out.copy_(found[0, :, -q.shape[1] :])
                kept.append(log_sums)
    return kept


def attend_rows_backward(
    grad: Float[Tensor, "heads asking size"],
    tensors: Sequence[Float[Tensor, "heads _ size"]],
    kept: Sequence[Tensor],
    row_lengths: tuple[int, ...],
    read: tuple[int, ...],
    scale: float,
    into: Sequence[Float[Tensor, "heads _ size"]],
) -> None:
    """`tensors` are query, key, value and what came out; the gradients of query, key and value are written into `into`."""
    query, key, value, joined = tensors
    with _plain_products():
        rows = zip(
            *(tensor.split(read, dim=1) for tensor in (grad, query, joined, into[0])),
            *(tensor.split(row_lengths, dim=1) for tensor in (key, value, *into[1:])),
            strict=True,
        )
        for (g, q, out, q_grad, k, v, k_grad, v_grad), own in zip(rows, kept, strict=True):
            if _whole(q, k):
                v_grad.copy_(torch.bmm(own.transpose(1, 2), g))
                by_score = _softmax_backward(torch.bmm(g, v.transpose(1, 2)), own, -1, own.dtype)
                torch.mul(torch.bmm(by_score, k), scale, out=q_grad)
                torch.mul(torch.bmm(by_score.transpose(1, 2), q), scale, out=k_grad)
            else:
                g, q, out = (_at_the_end(tokens, k.shape[1])[None] for tokens in (g, q, out))
                found = _flash_backward(g, q, k[None], v[None], out, own, 0.0, True, scale=scale)
                for here, there in zip((q_grad, k_grad, v_grad), found, strict=True):
                    here.copy_(there[0, :, -here.shape[1] :])


def _whole(query: Tensor, key: Tensor) -> bool:
    return query.shape[1] * key.shape[1] <= SHORT**2 and query.dtype in (torch.float32, torch.float64)


def _at_the_end(tokens: Tensor, length: int) -> Tensor:
    """These as the last of `length` tokens, the others being zero: flash attention takes as many queries as keys."""
    if tokens.shape[1] == length:
        return tokens
    return torch.nn.functional.pad(tokens, (0, 0, length - tokens.shape[1], 0))


@lru_cache(maxsize=4 * SHORT)
def _future(asking: int, length: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of a row, whose last `asking` tokens ask, so that none sees a later one."""
    return torch.full((asking, length), float("-inf"), dtype=dtype).triu_(1 + length - asking)


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
