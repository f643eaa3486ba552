"""The interface of decoders (prefill prompts, then one more token for each row), and two decoders for any model family:
the model's own layers with Steersman's KV cache, or the whole sequence through the model for each token.

A row's result is the logits of all tokens; with Q heads, the Q values of all tokens follow them.
"""

from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from steersman.models.acting import acting_as
from steersman.models.backbone import Backbone
from steersman.models.q_heads import QHeads
from steersman.rollout.memory import RowMemory, Step
from steersman.rollout.products import width_for

Path = Literal["graphed", "fused", "cached", "whole"]


@runtime_checkable
class Decoder(Protocol):
    """Runs a model for generation. Rows are padded on the right."""

    name: Path

    @property
    def values(self) -> Float[Tensor, " row"] | None:
        """The value of each row's state after the last prefill or step; None without a value head."""
        ...

    def reach(self, length: int) -> None:
        """Prepare for sequences of this length."""
        ...

    def width(self, rows: int) -> int:
        """The number of rows that a step with so many samples computes, idle ones included."""
        ...

    def memory(self, slots: int, capacity: int) -> RowMemory:
        """An empty KV cache for so many rows of so many tokens."""
        ...

    def prefill(
        self, ids: Int[Tensor, "row time"], lengths: Int[Tensor, " row"]
    ) -> tuple[RowMemory, Float[Tensor, "row numbers"]]:
        """A KV cache of these rows, and the logits (and Q values) after the last token of each."""
        ...

    def step(self, tokens: Int[Tensor, " row"], memory: RowMemory) -> Float[Tensor, "row numbers"]:
        """Add one token to each of the first rows of the cache; returns the logits after it."""
        ...


def last_of(values: Float[Tensor, "row time width"], lengths: Int[Tensor, " row"]) -> Float[Tensor, "row width"]:
    return values[torch.arange(len(lengths), device=lengths.device), lengths - 1]


class InRows:
    """Step widths and KV cache of decoders that keep nothing between two generations."""

    backbone: Backbone

    def width(self, rows: int) -> int:
        return width_for(rows)

    def memory(self, slots: int, capacity: int) -> RowMemory:
        return self._new_memory(slots, capacity)

    def _new_memory(self, slots: int, capacity: int) -> RowMemory:
        return RowMemory(slots, capacity, self.backbone.device)


class WholeDecoder(InRows):
    """Runs the whole sequence through the model for every token: correct for any causal model, and slow."""

    name: Path = "whole"
    values = None

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        q_heads: QHeads | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """`dtype` is for decoders with a copy of the weights; the model's own layers compute in theirs."""
        self.backbone, self.adapter, self.q_heads = backbone, adapter, q_heads

    def reach(self, length: int) -> None:
        """Nothing to prepare."""

    def prefill(
        self, ids: Int[Tensor, "row time"], lengths: Int[Tensor, " row"]
    ) -> tuple[RowMemory, Float[Tensor, "row numbers"]]:
        rows, time = ids.shape
        memory = self._new_memory(rows, time)
        memory.write_start(0, ids[:, None])
        memory.lengths.copy_(lengths)
        return memory, self._logits(ids, lengths)

    def step(self, tokens: Int[Tensor, " row"], memory: RowMemory) -> Float[Tensor, "row numbers"]:
        step = Step(memory, len(tokens), torch.float32)
        ids = memory.write_next(0, tokens[:, None], step)[:, 0]
        memory.lengths[: step.width] += 1
        return self._logits(ids, memory.lengths[: step.width])

    def _logits(self, ids: Int[Tensor, "row time"], lengths: Int[Tensor, " row"]) -> Float[Tensor, "row numbers"]:
        with torch.no_grad(), acting_as(self.backbone, self.adapter):
            return logits_after(self.backbone, self.q_heads, lengths, input_ids=ids, use_cache=False)


class CachedDecoder(InRows):
    """The model's own layers with keys and values in a `RowMemory`, for models without other state."""

    name: Path = "cached"
    values = None

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        q_heads: QHeads | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.backbone, self.adapter, self.q_heads = backbone, adapter, q_heads
        text = backbone.config.get_text_config()
        types = set(getattr(text, "layer_types", None) or ())
        self.window: int | None = getattr(text, "sliding_window", None)
        # Models whose layers differ take a mask for each kind of layer; the others take one.
        self.mixed = len(types) > 1 or text.model_type.startswith("gemma")
        self.layers: int = text.num_hidden_layers

    def reach(self, length: int) -> None:
        """Nothing to prepare."""

    def prefill(
        self, ids: Int[Tensor, "row time"], lengths: Int[Tensor, " row"]
    ) -> tuple[RowMemory, Float[Tensor, "row numbers"]]:
        rows, time = ids.shape
        memory = self._new_memory(rows, time)
        cache = Cache(layers=[cast(Any, _Start(memory, i)) for i in range(self.layers)])
        with torch.no_grad(), acting_as(self.backbone, self.adapter):
            asked = {"input_ids": ids, "past_key_values": cache}
            logits = logits_after(self.backbone, self.q_heads, lengths, use_cache=True, **asked)
        memory.lengths.copy_(lengths)
        return memory, logits

    def step(self, tokens: Int[Tensor, " row"], memory: RowMemory) -> Float[Tensor, "row numbers"]:
        step = Step(memory, len(tokens), self.backbone.dtype)
        cache = Cache(layers=[cast(Any, _Next(memory, i, step)) for i in range(self.layers)])
        asked = {"input_ids": tokens[:, None], "position_ids": step.positions[:, None], "past_key_values": cache}
        with torch.no_grad(), acting_as(self.backbone, self.adapter):
            one = torch.ones_like(step.positions)
            mask = self._mask(step)
            logits = logits_after(self.backbone, self.q_heads, one, attention_mask=mask, use_cache=True, **asked)
        memory.lengths[: step.width] += 1
        return logits

    def _mask(self, step: Step) -> Any:
        """A mask of four dimensions, which models use unchanged; without one they would make their own."""

        def whole(window: int | None) -> Tensor:
            mask = step.mask_for(window)
            if mask is None:
                mask = torch.zeros(
                    (step.width, 1, 1, step.span), dtype=self.backbone.dtype, device=step.positions.device
                )
            return mask

        if self.mixed:
            return {"full_attention": whole(None), "sliding_attention": whole(self.window)}
        return whole(self.window)


class _Layer(CacheLayerMixin):
    """One layer of a transformers cache in a RowMemory: keys at 2i, values at 2i + 1."""

    is_sliding = False

    def __init__(self, memory: RowMemory, index: int) -> None:
        super().__init__()
        self.memory, self.index = memory, index

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The memory allocates when it is first written."""

    def get_seq_length(self) -> int:
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_max_length(self) -> int:
        return self.memory.capacity


class _Start(_Layer):
    """The cache during a prefill."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        for half, values in enumerate((key_states, value_states)):
            self.memory.write_start(2 * self.index + half, values)
        return key_states, value_states


class _Next(_Layer):
    """The cache during a step."""

    def __init__(self, memory: RowMemory, index: int, step: Step) -> None:
        super().__init__(memory, index)
        self.step = step

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys = self.memory.write_next(2 * self.index, key_states[:, :, 0], self.step)
        values = self.memory.write_next(2 * self.index + 1, value_states[:, :, 0], self.step)
        return keys, values

    def get_seq_length(self) -> int:
        return self.step.span - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.step.span, 0


def logits_after(
    backbone: Backbone, q_heads: QHeads | None, lengths: Int[Tensor, " row"], **asked: Any
) -> Float[Tensor, "row numbers"]:
    """Logits (and Q values) after the last token of each row, without computing those of other tokens if possible."""
    readout = backbone.readout
    if readout is None:
        logits = last_of(backbone.hf(**asked).logits, lengths)
        if q_heads is None:
            return logits
        if asked["use_cache"]:
            # A second forward pass would write into the cache again; without a cache two passes are fine.
            raise NotImplementedError("its logits do not follow from its last hidden states, which Q heads read")
        return with_q(logits, last_of(backbone.trunk(**asked).last_hidden_state, lengths), q_heads)
    hidden = last_of(backbone.trunk(**asked).last_hidden_state, lengths)
    logits = backbone.hf.get_output_embeddings()(hidden) * readout.scale
    logits = readout.softcap * torch.tanh(logits / readout.softcap) if readout.softcap else logits
    return with_q(logits, hidden, q_heads)


def with_q(
    logits: Float[Tensor, "row vocab"], hidden: Float[Tensor, "row hidden"], q_heads: QHeads | None
) -> Float[Tensor, "row numbers"]:
    """The logits, followed by the Q values of all tokens if there are Q heads."""
    return logits if q_heads is None else torch.cat([logits.float(), q_heads.min_target_q(hidden)], dim=1)
