"""A KV cache with one slot per row: each tensor has a place for every token of every slot, allocated once.

A row's tokens are at positions 0, 1, 2, … of its slot, so rows of different lengths need no padding on the left, and a
row enters or leaves without changing the others. Values beyond a row's length are old, but always finite. Lanes are
heads: they come before time, so that slots and heads form one batch of matrices without a copy.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


class RowMemory:
    """The cache. `tensors[i]` has the shape [slots, lanes, capacity, ...], of which the decoder decides lanes and the
    rest. A tensor is allocated when it is first written, since its shape is known only then."""

    def __init__(self, slots: int, capacity: int, device: torch.device) -> None:
        self.slots, self.capacity, self.device = slots, capacity, device
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.tensors: list[Tensor | None] = []

    def tensor(self, index: int, like: Shaped[Tensor, "row lane ..."]) -> Tensor:
        """Tensor `index`; `like` has the shape and dtype of one token of some rows."""
        while len(self.tensors) <= index:
            self.tensors.append(None)
        found = self.tensors[index]
        if found is None:
            shape = (self.slots, like.shape[1], self.capacity, *like.shape[2:])
            # Zeros, not uninitialised memory: NaN times an attention weight of 0 is NaN.
            found = self.tensors[index] = torch.zeros(shape, dtype=like.dtype, device=self.device)
        return found

    def write_start(self, index: int, values: Shaped[Tensor, "row lane time ..."]) -> None:
        """Write the first tokens of the first rows."""
        self.tensor(index, values[:, :, 0])[: values.shape[0], :, : values.shape[2]] = values

    def write_from(self, start: int, index: int, values: Shaped[Tensor, "row lane time ..."]) -> Tensor:
        """Write tokens of the first rows from a position on. Returns the rows' tokens up to the last of them."""
        rows, end = values.shape[0], start + values.shape[2]
        if start == 0:
            self.write_start(index, values)
            return values
        found = self.tensor(index, values[:, :, 0])
        found[:rows, :, start:end] = values
        return found[:rows, :, :end]

    def write_next(self, index: int, values: Shaped[Tensor, "row lane ..."], step: "Step") -> Tensor:
        """Write one more token of each row of the step. Returns the rows' tokens up to it."""
        tensor = self.tensor(index, values)
        tensor.view(-1, *values.shape[2:]).index_copy_(0, step.places(values.shape[1]), values.flatten(0, 1))
        return tensor[: step.width, :, : step.span]

    def take(self, other: "RowMemory", rows: Sequence[int], slots: Sequence[int]) -> None:
        """Copy rows of another memory into slots of this one; the same row may go to many slots."""
        source = torch.tensor(rows, device=self.device)
        target = torch.tensor(slots, device=self.device)
        time = int(other.lengths[source].max())
        for index, tensor in enumerate(other.tensors):
            if tensor is not None:
                self.tensor(index, tensor[:, :, 0])[target, :, :time] = tensor[source, :, :time]
        self.lengths[target] = other.lengths[source]

    @property
    def is_full(self) -> bool:
        """Whether no more rows should join for now."""
        return False

    def release(self, slots: Iterable[int]) -> None:
        """These rows have ended."""
        self.lengths[torch.tensor(list(slots), device=self.device)] = 0

    def room_for_step(self, slots: Sequence[int]) -> list[int]:
        """Make room for one more token of each of these rows. Returns the rows that found none."""
        return []

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Move rows to other slots of this memory."""
        for source, target in zip(sources, targets, strict=True):
            time = int(self.lengths[source])
            for tensor in self.tensors:
                if tensor is not None:
                    tensor[target, :, :time] = tensor[source, :, :time]
            self.lengths[target] = time
            self.lengths[source] = 0


class Step:
    """A step's positions and masks, shared by all layers. A step adds one token to each of the first `width` slots;
    `span` is the length of the longest row after it."""

    def __init__(self, memory: RowMemory, width: int, dtype: torch.dtype) -> None:
        self.width, self.dtype, self.capacity = width, dtype, memory.capacity
        self.positions = memory.lengths[:width].clone()
        self.shortest, longest = (int(x) for x in self.positions.aminmax())
        self.span = longest + 1
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor | None] = {}

    def places(self, lanes: int) -> Int[Tensor, " row_lane"]:
        """Index of the new token in the flat tensor, for each row and lane."""
        if lanes not in self._places:
            lane = torch.arange(self.width * lanes, device=self.positions.device).view(self.width, lanes)
            self._places[lanes] = (lane * self.capacity + self.positions[:, None]).flatten()
        return self._places[lanes]

    def mask_for(self, window: int | None) -> Float[Tensor, "row 1 1 span"] | None:
        """The mask added to attention scores; None where every row attends to the whole span."""
        if window not in self._masks:
            self._masks[window] = _mask(self.positions, self.shortest, self.span - 1, window, self.dtype)
        return self._masks[window]


def _mask(
    positions: Int[Tensor, " row"], shortest: int, longest: int, window: int | None, dtype: torch.dtype
) -> Float[Tensor, "row 1 1 span"] | None:
    if shortest == longest and (window is None or longest < window):
        return None
    place = torch.arange(longest + 1, device=positions.device)
    hidden = place > positions[:, None]
    if window is not None:
        hidden |= place <= positions[:, None] - window
    mask = torch.zeros(hidden.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None, None]


def windowed_causal_mask(
    time: int, span: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "time span"]:
    """The mask of the last `time` of `span` tokens of a prefill: a token attends to itself and all before it, or the
    window - 1 tokens before it."""
    distance = torch.arange(span - time, span, device=device)[:, None] - torch.arange(span, device=device)
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    mask = torch.zeros((time, span), dtype=dtype, device=device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)
