"""Causal attention within each of many concatenated rows on a CPU, forward and backward.

For a short row the full matrix of attention probabilities is computed and saved for the backward pass: that costs less
than torch's flash attention, whose blocks are meant for long rows. All tensors here are [heads, tokens, size] views, in
any memory order whose last axis is contiguous. Queries are scaled already: their product with a key is the score.

A row may share a prefix with an earlier row, e.g. the prompt of two answers. The prefix is then computed once, in the
earlier row, and its keys and values come before the row's own. If only the results of a row's last tokens are needed,
only those tokens have queries.
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

# Up to this length the full matrix is faster (2 cores, 4 heads of 32: at 76 tokens 190 against 280 microseconds per
# row, forward and backward; from about 300 tokens flash attention, which skips masked blocks, is as fast).
SHORT = 160


class RowLayout(NamedTuple):
    """The layout of concatenated rows.

    `shared[i]` is (earlier row, number of its first tokens that are row i's prefix), or (i, 0) without a prefix.
    `query_counts[i]` is the number of tokens at the end of row i whose result is needed. `query_positions` are the
    positions of all these tokens; None if every token's result is needed.
    """

    lengths: tuple[int, ...]
    shared: tuple[tuple[int, int], ...]
    query_counts: tuple[int, ...]
    query_positions: Int[Tensor, " queries"] | None

    @staticmethod
    def separate(lengths: Sequence[int]) -> "RowLayout":
        """Rows without shared prefixes, with every token's result needed."""
        return RowLayout(tuple(lengths), tuple((i, 0) for i in range(len(lengths))), tuple(lengths), None)

    @property
    def with_all_queries(self) -> "RowLayout":
        return self if self.query_positions is None else self._replace(query_counts=self.lengths, query_positions=None)


_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # pyright: ignore[reportPrivateUsage]
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # pyright: ignore[reportPrivateUsage]
_softmax_backward: Any = torch._softmax_backward_data  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def attend_rows(
    query: Float[Tensor, "heads queries size"],
    key: Float[Tensor, "heads total size"],
    value: Float[Tensor, "heads total size"],
    rows: RowLayout,
    into: Float[Tensor, "heads queries size"],
) -> list[Tensor]:
    """Write each row's attention into `into`; returns what the backward pass needs of each row."""
    kept: list[Tensor] = []
    queries, outs = query.split(rows.query_counts, dim=1), into.split(rows.query_counts, dim=1)
    keys, values = _with_prefixes(key.transpose(1, 2), rows, dim=2), _with_prefixes(value, rows, dim=1)
    with _torch_matmul():
        for q, out, k_transposed, v in zip(queries, outs, keys, values, strict=True):
            if _is_short(q, v):
                scores = torch.baddbmm(_causal_mask(q.shape[1], v.shape[1], q.dtype), q, k_transposed)
                probabilities = torch.softmax(scores, -1)
                out.copy_(torch.bmm(probabilities, v))
                kept.append(probabilities)
            else:
                padded_q, k = _pad_front(q, v.shape[1]), k_transposed.transpose(1, 2).contiguous()
                attended, log_sums = _flash(padded_q[None], k[None], v[None], 0.0, True, scale=1.0)
                out.copy_(attended[0, :, -q.shape[1] :])
                kept.append(log_sums)
    return kept


def attend_rows_backward(
    grad: Float[Tensor, "heads queries size"],
    tensors: Sequence[Float[Tensor, "heads _ size"]],
    kept: Sequence[Tensor],
    rows: RowLayout,
    into: Sequence[Float[Tensor, "heads _ size"]],
) -> None:
    """Write the gradients of query, key and value into `into`. `tensors` are query, key, value and the output."""
    query, key, value, joined = tensors
    key_grads, value_grads = (tensor.split(rows.lengths, dim=1) for tensor in into[1:])
    by_query = (tensor.split(rows.query_counts, dim=1) for tensor in (grad, query, joined, into[0]))
    keys, values = _with_prefixes(key, rows, dim=1), _with_prefixes(value.transpose(1, 2), rows, dim=2)
    with _torch_matmul():
        for i, (g, q, out, q_grad, k, v_transposed, saved) in enumerate(
            zip(*by_query, keys, values, kept, strict=True)
        ):
            if _is_short(q, k):
                by_value = torch.bmm(saved.transpose(1, 2), g)
                by_score = _softmax_backward(torch.bmm(g, v_transposed), saved, -1, saved.dtype)
                q_grad.copy_(torch.bmm(by_score, k))
                by_key = torch.bmm(by_score.transpose(1, 2), q)
            else:
                g, q, out = (_pad_front(tokens, k.shape[1])[None] for tokens in (g, q, out))
                v = v_transposed.transpose(1, 2).contiguous()
                grads = _flash_backward(g, q, k[None], v[None], out, saved, 0.0, True, scale=1.0)
                q_grad.copy_(grads[0][0, :, q.shape[2] - q_grad.shape[1] :])
                by_key, by_value = grads[1][0], grads[2][0]
            _write_gradient(by_key, key_grads, rows, i)
            _write_gradient(by_value, value_grads, rows, i)


def _with_prefixes(tokens: Tensor, rows: RowLayout, *, dim: int) -> Sequence[Tensor]:
    """Keys or values of each row: those of its shared prefix, then its own."""
    parts = tokens.split(rows.lengths, dim)
    return [
        torch.cat((parts[earlier].narrow(dim, 0, count), own), dim) if count else own
        for own, (earlier, count) in zip(parts, rows.shared, strict=True)
    ]


def _write_gradient(grad: Tensor, parts: Sequence[Tensor], rows: RowLayout, i: int) -> None:
    """Write row i's own part of the gradient; add the prefix's part to the earlier row, which was written before."""
    earlier, count = rows.shared[i]
    if count == 0:
        parts[i].copy_(grad)
        return
    parts[i].copy_(grad[:, count:])
    parts[earlier][:, :count].add_(grad[:, :count])


def _is_short(query: Tensor, key: Tensor) -> bool:
    return query.shape[1] * key.shape[1] <= SHORT**2 and query.dtype in (torch.float32, torch.float64)


def _pad_front(tokens: Tensor, length: int) -> Tensor:
    """Zero-padded at the front to `length` tokens: this flash attention needs as many queries as keys."""
    if tokens.shape[1] == length:
        return tokens
    return torch.nn.functional.pad(tokens, (0, 0, length - tokens.shape[1], 0))


@lru_cache(maxsize=4 * SHORT)
def _causal_mask(queries: int, length: int, dtype: torch.dtype) -> Tensor:
    """The additive causal mask of a row in which only the last `queries` tokens have queries."""
    return torch.full((queries, length), float("-inf"), dtype=dtype).triu_(1 + length - queries)


@contextmanager
def _torch_matmul() -> Generator[None]:
    """Context manager: use torch's default matmul kernels, whatever the layers around use.

    Products within rows are small and have many shapes, and oneDNN would prepare a kernel for each shape.
    """
    settings = cast(Any, torch.backends.mkldnn).matmul
    before: str = settings.fp32_precision
    settings.fp32_precision = "none"
    try:
        yield
    finally:
        settings.fp32_precision = before
