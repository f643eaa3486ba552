"""Causal attention within each of many rows that lie one after another, forward and backward, on a processor.

A short row's probabilities are made whole, kept, and used again in the backward pass: for so few tokens that costs less than
torch's flash attention, whose blocks are made for long rows. All tensors here are [heads, tokens, size] views, in any memory
order whose last axis is dense. Queries come scaled: their product with a key is the score.

A row may begin with tokens of an earlier one, the same prompt for two answers, say: they are then computed once, in the
earlier row, and their keys and values stand before its own. And only the last tokens of a row may ask, if only their result is read.
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


class Rows(NamedTuple):
    """How rows lie one after another. `shared[i]` is an earlier row and how many of its first tokens stand before row i's own
    (itself and 0 for none). `asking[i]` is how many tokens at the end of row i are read; `places` is where all of these stand, or
    None if every token is read."""

    lengths: tuple[int, ...]
    shared: tuple[tuple[int, int], ...]
    asking: tuple[int, ...]
    places: Int[Tensor, " asking"] | None

    @staticmethod
    def apart(lengths: Sequence[int]) -> "Rows":
        """Rows that share nothing and are read whole."""
        return Rows(tuple(lengths), tuple((i, 0) for i in range(len(lengths))), tuple(lengths), None)

    @property
    def read_whole(self) -> "Rows":
        return self if self.places is None else self._replace(asking=self.lengths, places=None)


_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # pyright: ignore[reportPrivateUsage]
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # pyright: ignore[reportPrivateUsage]
_softmax_backward: Any = torch._softmax_backward_data  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def attend_rows(
    query: Float[Tensor, "heads asking size"],
    key: Float[Tensor, "heads total size"],
    value: Float[Tensor, "heads total size"],
    rows: Rows,
    into: Float[Tensor, "heads asking size"],
) -> list[Tensor]:
    """Write each row's attention into `into`; give back what the backward pass needs of each row."""
    kept: list[Tensor] = []
    queries, outs = query.split(rows.asking, dim=1), into.split(rows.asking, dim=1)
    seen = zip(queries, outs, _seen(key.transpose(1, 2), rows, dim=2), _seen(value, rows, dim=1), strict=True)
    with _plain_products():
        for q, out, k_turned, v in seen:
            if _whole(q, v):
                scores = torch.baddbmm(_future(q.shape[1], v.shape[1], q.dtype), q, k_turned)
                probabilities = torch.softmax(scores, -1)
                out.copy_(torch.bmm(probabilities, v))
                kept.append(probabilities)
            else:
                whole, k = _at_the_end(q, v.shape[1]), k_turned.transpose(1, 2).contiguous()
                found, log_sums = _flash(whole[None], k[None], v[None], 0.0, True, scale=1.0)
                out.copy_(found[0, :, -q.shape[1] :])
                kept.append(log_sums)
    return kept


def attend_rows_backward(
    grad: Float[Tensor, "heads asking size"],
    tensors: Sequence[Float[Tensor, "heads _ size"]],
    kept: Sequence[Tensor],
    rows: Rows,
    into: Sequence[Float[Tensor, "heads _ size"]],
) -> None:
    """`tensors` are query, key, value and what came out; the gradients of query, key and value are written into `into`."""
    query, key, value, joined = tensors
    key_grads, value_grads = (tensor.split(rows.lengths, dim=1) for tensor in into[1:])
    asking = (tensor.split(rows.asking, dim=1) for tensor in (grad, query, joined, into[0]))
    seen = zip(*asking, _seen(key, rows, dim=1), _seen(value.transpose(1, 2), rows, dim=2), kept, strict=True)
    with _plain_products():
        for i, (g, q, out, q_grad, k, v_turned, own) in enumerate(seen):
            if _whole(q, k):
                by_value = torch.bmm(own.transpose(1, 2), g)
                by_score = _softmax_backward(torch.bmm(g, v_turned), own, -1, own.dtype)
                q_grad.copy_(torch.bmm(by_score, k))
                by_key = torch.bmm(by_score.transpose(1, 2), q)
            else:
                g, q, out = (_at_the_end(tokens, k.shape[1])[None] for tokens in (g, q, out))
                v = v_turned.transpose(1, 2).contiguous()
                found = _flash_backward(g, q, k[None], v[None], out, own, 0.0, True, scale=1.0)
                q_grad.copy_(found[0][0, :, q.shape[2] - q_grad.shape[1] :])
                by_key, by_value = found[1][0], found[2][0]
            _give_back(by_key, key_grads, rows, i)
            _give_back(by_value, value_grads, rows, i)


def _seen(tokens: Tensor, rows: Rows, *, dim: int) -> Sequence[Tensor]:
    """What each row sees of keys or values: its own, after those that it shares with an earlier row."""
    parts = tokens.split(rows.lengths, dim)
    return [
        torch.cat((parts[earlier].narrow(dim, 0, count), own), dim) if count else own
        for own, (earlier, count) in zip(parts, rows.shared, strict=True)
    ]


def _give_back(grad: Tensor, parts: Sequence[Tensor], rows: Rows, i: int) -> None:
    """The gradient of what row i saw: its own part is written; the earlier row, written before, gets the shared one added."""
    earlier, count = rows.shared[i]
    if count == 0:
        parts[i].copy_(grad)
        return
    parts[i].copy_(grad[:, count:])
    parts[earlier][:, :count].add_(grad[:, :count])


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
