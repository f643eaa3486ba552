"""The fast decoder on a GPU: a step is captured once for each width and replayed as one CUDA graph.

With a few dozen rows a GPU finishes a step faster than Python can launch its hundreds of kernels. So all that a step
reads keeps its address for as long as the engine lives: new weights are copied over the old ones, generations share one
KV cache, and each row's length is read on the device. Between the matrix products the kernels of `gpu_kernels.py` run.
The residual stream is float32; the products have the engine's dtype.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steersman.models.backbone import Backbone
from steersman.models.heads import ValueHead
from steersman.models.q_heads import QHeads
from steersman.rollout.decoder import Path
from steersman.rollout.fused import FusedDecoder
from steersman.rollout.layout import LayerWeights, final_gain, head_weights, layer_plans, layer_weights
from steersman.rollout.memory import RowMemory
from steersman.rollout.paged import PagedMemory
from steersman.rollout.products import Product

# The capacity of a cache is a multiple of `_ROUND` tokens. A cache is reused if it is at most `_LARGER` times as large
# as needed.
_ROUND, _LARGER = 64, 4


class _Recorded(NamedTuple):
    graph: Any
    tokens: Tensor
    logits: Tensor
    values: Tensor | None


class PooledMemory(RowMemory):
    """A KV cache whose tensors are parts of one, so that a row moves in one copy instead of two for each layer."""

    def __init__(self, pool: Float[Tensor, "tensors slots lanes capacity width"]) -> None:
        super().__init__(pool.shape[1], pool.shape[3], pool.device)
        self.pool = pool
        self.tensors = list(pool.unbind())

    def take(self, other: RowMemory, rows: Any, slots: Any) -> None:
        if not isinstance(other, PooledMemory):
            super().take(other, rows, slots)
            return
        source, target = (torch.tensor(one, device=self.device) for one in (rows, slots))
        time = other.capacity
        self.pool[:, target, :, :time] = other.pool[:, source]
        self.lengths[target] = other.lengths[source]

    def move(self, sources: Any, targets: Any) -> None:
        source, target = (torch.tensor(one, device=self.device) for one in (sources, targets))
        self.pool[:, target] = self.pool[:, source]
        self.lengths[target] = self.lengths[source]
        self.lengths[source] = 0


class GraphedDecoder(FusedDecoder):
    name: Path = "graphed"

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        q_heads: QHeads | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        from steersman.rollout import gpu_kernels

        self.kernels = gpu_kernels
        self.family = backbone.family
        self.kept: list[LayerWeights] = []
        self._memory: PooledMemory | PagedMemory | None = None
        self.paged, self.split = False, 1
        """Whether the cache is in pages; among how many programs a row's past is divided."""
        self.most_pages: int | None = None
        self._recorded: dict[int, _Recorded] = {}
        self._grown = 0
        self._pool: Any = None
        if q_heads is not None:
            raise NotImplementedError("Q heads are not computed in a CUDA graph")
        super().__init__(backbone, adapter, None, dtype)

    def refill(self, adapter: str | None) -> None:
        """Copy the model's present weights over the old copies."""
        backbone = self.backbone
        with torch.no_grad():
            plans = [layer.plan for layer in self.layers]
            for plan, layer, kept in zip(plans, backbone.trunk.layers, self.kept, strict=True):
                _copy_into(kept, layer_weights(layer, plan, self.family, adapter))
            for old, new in zip(self.head_kept, head_weights(backbone, adapter), strict=True):
                if old is not None and new is not None:
                    old.copy_(new)
            self.final_gain.copy_(final_gain(backbone))
            self.table.copy_(self.embedding.weight)

    def set_value_head(self, head: ValueHead) -> None:
        with torch.no_grad():
            weight, bias = head.weight.detach()[0] * self.final_gain.float(), head.bias.detach().clone()
            if self._value is None:
                self._value = (weight.clone(), bias)
                self._recorded.clear()
            else:
                self._value[0].copy_(weight)
                self._value[1].copy_(bias)

    def reach(self, length: int) -> None:
        if length > self.length:
            self._recorded.clear()
        super().reach(length)

    @property
    def bytes(self) -> int:
        """Memory of the copied weights and of the KV cache."""
        tensors = [*(one for kept in self.kept for one in kept.tensors().values()), self.head_kept[0], self.table]
        return sum(tensor.nbytes for tensor in tensors) + self.remembered_bytes

    def decode_long(self, *, paged: bool, split: int) -> None:
        """How steps keep and read what long answers need."""
        from steersman.rollout import gpu_attention

        self.attention = gpu_attention
        if (paged, split) != (self.paged, self.split):
            self._recorded.clear()
            self._memory = None
        self.paged, self.split = paged, split

    @property
    def remembered_bytes(self) -> int:
        return 0 if self._memory is None else self._memory.pool.nbytes

    def width(self, rows: int) -> int:
        """Powers of two, since each width is a CUDA graph; reading the weights costs the same for one row and for
        many."""
        return 1 << max(0, rows - 1).bit_length()

    def memory(self, slots: int, capacity: int) -> RowMemory:
        """The KV cache of the previous generation, if this one fits into it and does not need far less."""
        held, capacity = self._memory, -(-capacity // _ROUND) * _ROUND
        if self.paged:
            return self._pages(slots, capacity)
        fits = held is not None and held.slots >= slots and held.capacity >= capacity
        if held is None or not fits or held.slots * held.capacity > _LARGER * slots * capacity:
            self._recorded.clear()
            self._memory = held = None
            self._memory = held = self._new_memory(slots, capacity)
        held.lengths.zero_()
        return held

    def _pages(self, slots: int, capacity: int) -> PagedMemory:
        """The pages of the previous generation, if its table is large enough."""
        held = self._memory
        if isinstance(held, PagedMemory) and held.slots >= slots and held.capacity >= capacity:
            held.forget()
            held.most_pages = self.most_pages
            return held
        plan = self.layers[0].plan
        shape = (2 * len(self.layers), plan.kv_heads, plan.head_dim)
        self._recorded.clear()
        self._memory = found = PagedMemory.empty(shape, slots, capacity, self.most_pages, self.table[:0])
        self._grown = 0
        return found

    def step(self, tokens: Int[Tensor, " row"], memory: RowMemory) -> Float[Tensor, "row numbers"]:
        width = len(tokens)
        if isinstance(memory, PagedMemory) and memory.grown != self._grown:
            # the pages have another address
            self._recorded.clear()
            self._grown = memory.grown
        if memory is not self._memory or memory.device.type != "cuda":
            return self._step(tokens, memory)
        if width not in self._recorded:
            self._recorded[width] = self._record(tokens.clone(), memory)
        recorded = self._recorded[width]
        recorded.tokens.copy_(tokens)
        recorded.graph.replay()
        self.values = recorded.values
        return recorded.logits

    def _record(self, tokens: Tensor, memory: RowMemory) -> _Recorded:
        lengths = memory.lengths.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            # a first run without capture: kernels are compiled, libraries allocate their workspaces
            self._step(tokens, memory)
        torch.cuda.current_stream().wait_stream(aside)
        if not self._recorded:
            # the pool of deleted graphs was freed with them
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._step(tokens, memory)
        # what was written behind each row's end is written again, unchanged, at the replay
        memory.lengths.copy_(lengths)
        return _Recorded(graph, tokens, logits, self.values)

    def _step(self, tokens: Tensor, memory: RowMemory) -> Tensor:
        width = len(tokens)
        lengths = memory.lengths[:width]
        table = memory.table if isinstance(memory, PagedMemory) else None
        stream, part = self._embed(tokens), None
        for index, layer in enumerate(self.layers):
            plan = layer.plan
            normed = self.kernels.add_norm(stream, part, self.epsilon, self.dtype)
            keys, values = memory.tensors[2 * index], memory.tensors[2 * index + 1]
            assert keys is not None
            assert values is not None
            norms = None if layer.query_norm is None or layer.key_norm is None else (layer.query_norm, layer.key_norm)
            queries = self.kernels.turn_and_remember(
                layer.qkv(normed),
                keys,
                values,
                lengths,
                self.rotary[plan.rotary],
                norms,
                self.epsilon,
                plan.heads,
                table,
            )
            if table is None and self.split == 1:
                found = self.kernels.attend_past(queries, keys, values, lengths, plan.window)
            else:
                past = (queries, keys, values, lengths, plan.window)
                found = self.attention.attend_parts(*past, table=table, split=self.split)
            part = self._after(layer.output(found), layer.after_attention)
            normed = self.kernels.add_norm(stream, part, self.epsilon, self.dtype)
            opened = self.kernels.open_gate(layer.gate_up(normed), gelu=self.gelu)
            part = self._after(layer.down(opened), layer.after_feedforward)
        lengths += 1
        return self._logits_of(self.kernels.add_norm(stream, part, self.epsilon, self.dtype))

    def _after(self, part: Tensor, gain: Tensor | None) -> Tensor:
        return part if gain is None else self._normed(part, gain)

    def _embed(self, ids: Tensor) -> Tensor:
        scale = getattr(self.embedding, "embed_scale", None)
        found = torch.nn.functional.embedding(ids, self.table).float()
        return found if scale is None else found * scale.to(found)

    def _take_head(self, adapter: str | None) -> None:
        weight, bias = head_weights(self.backbone, adapter)
        self.head_kept = (weight.to(self.dtype, copy=True), None if bias is None else bias.to(self.dtype, copy=True))
        self.head = self._product(*self.head_kept)
        self.final_gain = final_gain(self.backbone).detach().clone()
        self.table = self.embedding.weight.detach().to(self.dtype, copy=True)

    def _own(self, weights: LayerWeights) -> LayerWeights:
        # A copy: the model's own weights may be moved (off-loading), and a recording would still read their old place.
        kept = weights.to(self.dtype, copy=True)
        self.kept.append(kept)
        return kept

    def _product(self, weight: Tensor, bias: Tensor | None) -> Product:
        """A product with the weight at its address, not repacked: `refill` writes there."""
        return lambda x: torch.nn.functional.linear(x, weight, bias)

    def _new_memory(self, slots: int, capacity: int) -> PooledMemory:
        plan, device = self.layers[0].plan, self.backbone.device
        shape = (2 * len(self.layers), slots, plan.kv_heads, capacity, plan.head_dim)
        return PooledMemory(torch.zeros(shape, dtype=self.dtype, device=device))


def why_not_graphed(backbone: Backbone) -> str | None:
    """Why steps of this model are not captured, or None if they can be."""
    try:
        from steersman.rollout import gpu_kernels  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        return f"Triton is not installed ({error})"
    plans = layer_plans(backbone)
    if len({(plan.heads, plan.kv_heads, plan.head_dim) for plan in plans}) > 1:
        return "its layers have different heads"
    return None


def _copy_into(old: LayerWeights, new: LayerWeights) -> None:
    fresh = new.tensors()
    for name, tensor in old.tensors().items():
        tensor.copy_(fresh[name])
