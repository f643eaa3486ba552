"""Positions of the target tokens of a batch. This is the only module that shifts positions by one."""

from typing import NamedTuple

from jaxtyping import Bool, Int, Shaped
from torch import Tensor


class TargetPositions(NamedTuple):
    """Row and position of each target token, and the position whose hidden state predicts it (`before`)."""

    row: Int[Tensor, " targets"]
    before: Int[Tensor, " targets"]
    position: Int[Tensor, " targets"]


def target_positions(loss_mask: Bool[Tensor, "batch time"]) -> TargetPositions:
    """The True entries of a loss mask, row by row, each with the position before it."""
    if loss_mask.shape[1] > 0 and bool(loss_mask[:, 0].any()):
        raise ValueError(
            f"the loss mask is True at position 0 in {int(loss_mask[:, 0].sum())} of {len(loss_mask)} rows: no token "
            "precedes the first, so it cannot be predicted. Mask it out, or put a BOS token there."
        )
    row, position = loss_mask.nonzero(as_tuple=True)
    return TargetPositions(row, position - 1, position)


def gather_at(values: Shaped[Tensor, "batch time *rest"], loss_mask: Bool[Tensor, "batch time"]) -> Tensor:
    """Values at each target, flat: its token id, its reward, its old log-prob."""
    row, _, position = target_positions(loss_mask)
    return values[row, position]


def gather_before(values: Shaped[Tensor, "batch time *rest"], loss_mask: Bool[Tensor, "batch time"]) -> Tensor:
    """Values at the position before each target, flat: the hidden state that predicts it, the value of that state."""
    row, before, _ = target_positions(loss_mask)
    return values[row, before]
