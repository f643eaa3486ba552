"""What a decoder remembers of its rows: for each of its tensors one slot a row and one place a token, allocated once.

A row's tokens stand at 0, 1, 2, … of its slot, so rows of different lengths need no padding on the left, and a row
enters or leaves without touching the others. What stands beyond a row's length is old, but always finite.
Legend: S slots, W the first W slots that take part in a step, T time, N rows of a prefill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


class RowMemory:
    """`tensors[i]` has the shape [slots, capacity, ...]; what the rest is, the decoder knows. They are made when first
    written, since only then is their shape known for any model."""

    def __init__(self, slots: int, capacity: int, device: torch.device) -> None:
        self.slots, self.capacity, self.device = slots, capacity, device
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.tensors: list[Tensor | None] = []

    def tensor(self, index: int, like: Shaped[Tensor, "row ..."]) -> Tensor:
        """Tensor `index`; `like` has the shape and type of one token of some rows."""
        while len(self.tensors) <= index:
            self.tensors.append(None)
        found = self.tensors[index]
        if found is None:
            shape = (self.slots, self.capacity, *like.shape[1:])
            # Zeros and not whatever was there: a NaN times an attention weight of 0 is still NaN.
            found = self.tensors[index] = torch.zeros(shape, dtype=like.dtype, device=self.device)
        return found

    def write_start(self, index: int, values: Shaped[Tensor, "row time ..."]) -> None:
        """The first tokens of the first rows."""
        self.tensor(index, values[:, 0])[: values.shape[0], : values.shape[1]] = values

    def write_next(self, index: int, values: Shaped[Tensor, "row ..."], places: Int[Tensor, " row"]) -> Tensor:
        """One more token of the first rows, at `places` of the flat memory; the tensor is handed back."""
        tensor = self.tensor(index, values)
        tensor.view(-1, *values.shape[1:]).index_copy_(0, places, values)
        return tensor

    def take(self, other: "RowMemory", rows: Sequence[int], slots: Sequence[int]) -> None:
        """Copy rows of another memory into slots of this one; the same row may go to many slots."""
        source = torch.tensor(rows, device=self.device)
        target = torch.tensor(slots, device=self.device)
        time = int(other.lengths[source].max())
        for index, tensor in enumerate(other.tensors):
            if tensor is not None:
                self.tensor(index, tensor[:, 0])[target, :time] = tensor[source, :time]
        self.lengths[target] = other.lengths[source]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Move rows to other slots of this memory."""
        for source, target in zip(sources, targets, strict=True):
            time = int(self.lengths[source])
            for tensor in self.tensors:
                if tensor is not None:
                    tensor[target, :time] = tensor[source, :time]
            self.lengths[target] = time
            self.lengths[source] = 0


@dataclass(frozen=True)
class Step:
    """What all layers of one decoding step share. `span` is how far back the longest row of the step reaches."""

    width: int
    span: int
    positions: Int[Tensor, " row"]
    places: Int[Tensor, " row"]
    mask_for: Callable[[int | None], Float[Tensor, "row 1 1 span"] | None]


def plan_step(memory: RowMemory, width: int, dtype: torch.dtype) -> Step:
    """The step that adds one token to each of the first `width` slots."""
    positions = memory.lengths[:width]
    shortest, longest = (int(x) for x in positions.aminmax())
    places = torch.arange(width, device=memory.device) * memory.capacity + positions
    masks: dict[int | None, Tensor | None] = {}

    def mask_for(window: int | None) -> Tensor | None:
        """What is added to attention scores; None where every row sees the whole span."""
        if window not in masks:
            masks[window] = _mask(positions, shortest, longest, window, dtype)
        return masks[window]

    return Step(width, longest + 1, positions.clone(), places, mask_for)


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
    time: int, window: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "time time"]:
    """For a prefill with a sliding window: a token sees itself and the window - 1 tokens before it."""
    place = torch.arange(time, device=device)
    distance = place[:, None] - place
    mask = torch.zeros((time, time), dtype=dtype, device=device)
    return mask.masked_fill_((distance < 0) | (distance >= window), torch.finfo(dtype).min)
