"""Triton kernels of a decoding step's attention over a cache in pages (`paged.py`), divided among several programs.

Legend: W rows, H heads, K key/value heads, D width of a head, C length of a lane: a row's capacity, or a page.
"""

# Triton has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from steersman.rollout.gpu_kernels import BLOCK_SIZE, kernel


@kernel
def _attend_part(
    queries,
    keys,
    values,
    lengths,
    parts,
    found,
    table,
    table_width,
    heads,
    kv_heads,
    capacity,
    width,
    window,
    SLIDES: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    SPLIT: tl.constexpr,
):
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    place = tl.arange(0, SIZE)
    inside = place < width
    group = head // (heads // kv_heads)
    last = tl.load(lengths + row)
    first = 0
    if SLIDES:
        first = tl.maximum(last - window + 1, 0)
    # blocks begin at multiples of BLOCK, so that none crosses a page; parts have as many blocks each
    begin = first // BLOCK
    blocks = last // BLOCK + 1 - begin
    share = tl.cdiv(blocks, SPLIT)
    query = tl.load(queries + (row * heads + head) * width + place, mask=inside, other=0.0).to(tl.float32)
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    gathered = tl.zeros((SIZE,), tl.float32)
    for block in range(begin + part * share, tl.minimum(begin + (part + 1) * share, begin + blocks)):
        time = block * BLOCK + tl.arange(0, BLOCK)
        seen = (time <= last) & (time >= first)
        if PAGE > 0:
            page = tl.load(table + row * table_width + block * BLOCK // PAGE).to(tl.int64)
            spot = (((page * kv_heads + group) * PAGE + time % PAGE)[:, None]) * width + place[None, :]
        else:
            lane = row.to(tl.int64) * kv_heads + group
            spot = (lane * capacity + time)[:, None] * width + place[None, :]
        both = seen[:, None] & inside[None, :]
        key = tl.load(keys + spot, mask=both, other=0.0).to(tl.float32)
        scores = tl.where(seen, tl.sum(key * query[None, :], 1), float("-inf"))
        now = tl.maximum(highest, tl.max(scores, 0))
        weights = tl.exp(scores - now)
        fade = tl.exp(highest - now)
        value = tl.load(values + spot, mask=both, other=0.0).to(tl.float32)
        gathered = gathered * fade + tl.sum(value * weights[:, None], 0)
        total = total * fade + tl.sum(weights, 0)
        highest = now
    if SPLIT == 1:
        target = found + (row * heads + head) * width
        tl.store(target + place, (gathered / total).to(found.dtype.element_ty), mask=inside)
    else:
        # the weighted sum, then the largest score and the sum of weights
        target = parts + ((row * heads + head) * SPLIT + part) * (SIZE + 2)
        tl.store(target + place, gathered)
        tl.store(target + SIZE, highest)
        tl.store(target + SIZE + 1, total)


@kernel
def _join_parts(parts, found, heads, width, SIZE: tl.constexpr, SPLIT: tl.constexpr):
    row, head = tl.program_id(0), tl.program_id(1)
    place, part = tl.arange(0, SIZE), tl.arange(0, SPLIT)
    source = parts + (row * heads + head) * SPLIT * (SIZE + 2)
    highest = tl.load(source + part * (SIZE + 2) + SIZE)
    total = tl.load(source + part * (SIZE + 2) + SIZE + 1)
    # a part without blocks has the weight exp(-inf) = 0
    weights = tl.exp(highest - tl.max(highest, 0))
    gathered = tl.load(source + part[:, None] * (SIZE + 2) + place[None, :])
    joined = tl.sum(gathered * weights[:, None], 0) / tl.sum(total * weights, 0)  # pyright: ignore[reportOperatorIssue]
    target = found + (row * heads + head) * width
    tl.store(target + place, joined.to(found.dtype.element_ty), mask=place < width)


def attend_parts(
    queries: Float[Tensor, "W H D"],
    keys: Float[Tensor, "slots K C D"],
    values: Float[Tensor, "slots K C D"],
    lengths: Int[Tensor, " W"],
    window: int | None,
    *,
    table: Int[Tensor, "rows pages"] | None,
    split: int,
) -> Float[Tensor, "W attended"]:
    """`attend_past` with keys and values in pages (`paged.py`) if there is a table, and each row's past divided among
    `split` programs, a power of two: few rows with a long past then keep the whole GPU busy."""
    rows, heads, width = queries.shape
    found = torch.empty_like(queries)
    _, kv_heads, capacity, _ = keys.shape
    size = triton.next_power_of_2(width)
    parts = queries.new_empty((rows, heads, split, size + 2) if split > 1 else (1,), dtype=torch.float32)
    _attend_part[(rows, heads, split)](
        *(queries, keys, values, lengths, parts, found),
        *((lengths, 0) if table is None else (table, table.stride(0))),
        *(heads, kv_heads, capacity, width, window or 0),
        SLIDES=window is not None,
        SIZE=size,
        BLOCK=BLOCK_SIZE,
        PAGE=0 if table is None else capacity,
        SPLIT=split,
        num_warps=1,
    )
    if split > 1:
        _join_parts[(rows, heads)](parts, found, heads, width, SIZE=size, SPLIT=split, num_warps=1)
    return found.view(rows, -1)
