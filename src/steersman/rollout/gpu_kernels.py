"""Triton kernels for all of a decoding step but its matrix products: four launches per layer instead of about twenty.

With a few dozen rows a step's time is reading the weights and launching kernels. The kernels compute in float32 and
read and write the dtype of their tensors. Each row's length is read on the device, so that the same launches (and a
CUDA graph of them) serve every step. tests/rollout/test_gpu_kernels.py compares them with plain torch, also without a
GPU, by Triton's interpreter.

Legend: W rows, H heads, K key/value heads, D width of a head, C capacity of a row's memory.
"""

# Triton has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

import inspect
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

# Positions of a row's cache that one program handles together.
BLOCK_SIZE: Any = 32


def kernel(function: Any) -> Any:
    """A Triton kernel. Triton reads a function's source and globals, so it must get the function without type-checking
    wrappers."""
    return triton.jit(inspect.unwrap(function))


@kernel
def _add_norm(stream, part, normed, epsilon, width, HAS_PART: tl.constexpr, SIZE: tl.constexpr):
    row, place = tl.program_id(0), tl.arange(0, SIZE)
    inside = place < width
    x = tl.load(stream + row * width + place, mask=inside, other=0.0).to(tl.float32)
    if HAS_PART:
        x += tl.load(part + row * width + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(stream + row * width + place, x.to(stream.dtype.element_ty), mask=inside)
    scale = tl.rsqrt(tl.sum(x * x, 0) / width + epsilon)
    tl.store(normed + row * width + place, (x * scale).to(normed.dtype.element_ty), mask=inside)


def add_norm(
    stream: Float[Tensor, "W hidden"], part: Float[Tensor, "W hidden"] | None, epsilon: float, dtype: torch.dtype
) -> Float[Tensor, "W hidden"]:
    """Add `part` to the residual stream in place. Returns the stream divided by its root mean square."""
    rows, width = stream.shape
    normed = torch.empty_like(stream, dtype=dtype)
    size = triton.next_power_of_2(width)
    warps = min(max(size // 256, 1), 16)
    given = stream if part is None else part
    _add_norm[(rows,)](stream, given, normed, epsilon, width, HAS_PART=part is not None, SIZE=size, num_warps=warps)
    return normed


@kernel
def _turn(
    qkv,
    queries,
    keys,
    values,
    lengths,
    cosine,
    sine,
    query_norm,
    key_norm,
    epsilon,
    heads,
    kv_heads,
    capacity,
    width,
    turned,
    table,
    table_width,
    HAS_NORM: tl.constexpr,
    SIZE: tl.constexpr,
    PAGE: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    place = tl.arange(0, SIZE)
    inside = place < width
    source = qkv + (row * (heads + 2 * kv_heads) + head) * width
    position = tl.load(lengths + row)
    # where the token goes: in the row's own lanes, or in the lanes of its page
    owner, place_in_lane, lane_length = row.to(tl.int64), position, capacity
    if PAGE > 0:
        owner = tl.load(table + row * table_width + position // PAGE).to(tl.int64)
        place_in_lane, lane_length = position % PAGE, PAGE
    x = tl.load(source + place, mask=inside, other=0.0).to(tl.float32)
    if head >= heads + kv_heads:
        lane = owner * kv_heads + head - heads - kv_heads
        tl.store(
            values + (lane * lane_length + place_in_lane) * width + place, x.to(values.dtype.element_ty), mask=inside
        )
    else:
        # each place's partner in the rotation, a half of the rotated part away
        rotates = place < turned
        partner = tl.where(rotates, (place + turned // 2) % turned, place)
        other = tl.load(source + partner, mask=inside, other=0.0).to(tl.float32)
        if HAS_NORM:
            scale = tl.rsqrt(tl.sum(x * x, 0) / width + epsilon)
            if head < heads:
                x *= scale * tl.load(query_norm + place, mask=inside, other=0.0).to(tl.float32)
                other *= scale * tl.load(query_norm + partner, mask=inside, other=0.0).to(tl.float32)
            else:
                x *= scale * tl.load(key_norm + place, mask=inside, other=0.0).to(tl.float32)
                other *= scale * tl.load(key_norm + partner, mask=inside, other=0.0).to(tl.float32)
        cos = tl.load(cosine + position * turned + place, mask=rotates, other=1.0).to(tl.float32)
        sin = tl.load(sine + position * turned + place, mask=rotates, other=0.0).to(tl.float32)
        x = x * cos + other * sin
        if head < heads:
            target = queries + (row * heads + head) * width
            tl.store(target + place, x.to(queries.dtype.element_ty), mask=inside)
        else:
            lane = owner * kv_heads + head - heads
            spot = (lane * lane_length + place_in_lane) * width + place
            tl.store(keys + spot, x.to(keys.dtype.element_ty), mask=inside)


def turn_and_remember(
    qkv: Float[Tensor, "W projected"],
    keys: Float[Tensor, "slots K C D"],
    values: Float[Tensor, "slots K C D"],
    lengths: Int[Tensor, " W"],
    rotary: tuple[Float[Tensor, "time turned"], Float[Tensor, "time turned"]],
    norms: tuple[Float[Tensor, " D"], Float[Tensor, " D"]] | None,
    epsilon: float,
    heads: int,
    table: Int[Tensor, "rows pages"] | None = None,
) -> Float[Tensor, "W H D"]:
    """Norm (if the model has head norms) and rotate queries and keys, and append each row's key and value to its cache.
    Returns the queries. `sine` is negative in its first half (`layout.rotary_tables`). With a `table`, keys and values
    are pages (`paged.py`): slots are pages then, and C their length."""
    _, kv_heads, capacity, width = keys.shape
    cosine, sine = rotary
    queries = qkv.new_empty(len(qkv), heads, width)
    query_norm, key_norm = (qkv, qkv) if norms is None else norms
    grid = (len(qkv), heads + 2 * kv_heads)
    _turn[grid](
        *(qkv, queries, keys, values, lengths, cosine, sine, query_norm, key_norm, epsilon),
        *(heads, kv_heads, capacity, width, cosine.shape[1]),
        *((lengths, 0) if table is None else (table, table.stride(0))),
        HAS_NORM=norms is not None,
        SIZE=triton.next_power_of_2(width),
        PAGE=0 if table is None else capacity,
        num_warps=1,
    )
    return queries


@kernel
def _attend(
    queries,
    keys,
    values,
    lengths,
    found,
    heads,
    kv_heads,
    capacity,
    width,
    window,
    SLIDES: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    place = tl.arange(0, SIZE)
    inside = place < width
    lane = row * kv_heads + head // (heads // kv_heads)
    last = tl.load(lengths + row)
    first = 0
    if SLIDES:
        first = tl.maximum(last - window + 1, 0)
    query = tl.load(queries + (row * heads + head) * width + place, mask=inside, other=0.0).to(tl.float32)
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    gathered = tl.zeros((SIZE,), tl.float32)
    for start in range(first, last + 1, BLOCK):
        time = start + tl.arange(0, BLOCK)
        seen = time <= last
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
    target = found + (row * heads + head) * width
    tl.store(target + place, (gathered / total).to(found.dtype.element_ty), mask=inside)


def attend_past(
    queries: Float[Tensor, "W H D"],
    keys: Float[Tensor, "slots K C D"],
    values: Float[Tensor, "slots K C D"],
    lengths: Int[Tensor, " W"],
    window: int | None,
) -> Float[Tensor, "W attended"]:
    """Attention of one query per row and head over the row's cache, up to its length."""
    rows, heads, width = queries.shape
    found = torch.empty_like(queries)
    _, kv_heads, capacity, _ = keys.shape
    _attend[(rows, heads)](
        *(queries, keys, values, lengths, found, heads, kv_heads, capacity, width, window or 0),
        SLIDES=window is not None,
        SIZE=triton.next_power_of_2(width),
        BLOCK=BLOCK_SIZE,
        # measured on an H200 (64 rows, 20 heads of 64, 64 tokens): 11.4 µs; with 4 warps and blocks of 64 20.4 µs
        num_warps=1,
    )
    return found.view(rows, -1)


@kernel
def _gate(both, opened, width, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row, place = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < width
    gate = tl.load(both + row * 2 * width + place, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + place, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        # tanh(x) = 2 sigmoid(2x) - 1
        gate = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    else:
        gate = gate * tl.sigmoid(gate)
    tl.store(opened + row * width + place, (gate * up).to(opened.dtype.element_ty), mask=inside)


def open_gate(both: Float[Tensor, "W twice"], *, gelu: bool) -> Float[Tensor, "W inner"]:
    """SiLU (or tanh GELU) of the first half times the second."""
    rows, width = both.shape[0], both.shape[1] // 2
    opened = both.new_empty(rows, width)
    _gate[(rows, triton.cdiv(width, 1024))](both, opened, width, GELU=gelu, BLOCK=1024, num_warps=4)
    return opened
