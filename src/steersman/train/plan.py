"""Splits a global batch over ranks and into micro-batches by a token budget.

Pure functions of the rows' lengths, so that a resumed run makes the same micro-batches.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from steersman.models.rows import padded_groups
from steersman.train.objective import BatchT, Collate, UnitT
from steersman.train.recorded import Recorder


@dataclass(frozen=True)
class Batching(Generic[UnitT, BatchT]):
    """How units become micro-batches: the function that collates them, and what counts against the token budget."""

    collate: Collate[UnitT, BatchT]
    token_budget: int
    packed: bool = False
    """Whether `collate` packs rows instead of padding them."""
    unpadded: bool = False
    """Whether the model computes no padding, however rows are laid out."""
    recorder: Recorder | None = None
    """Records passes over batches of the same shapes (`recorded.py`). `collate` then leaves batches on the CPU. Only
    for one process, and for parameters that stay at their addresses."""


def micro_batches(units: Sequence[UnitT], budget: int, *, packed: bool) -> list[list[UnitT]]:
    """Units in groups of at most `budget` tokens, longest first; a unit above the budget goes alone.

    Tokens are counted with padding (rows times the longest), or without it if no padding is computed (`packed`).
    """
    if packed:
        return _balanced(sorted(units, key=lambda unit: -max(unit.lengths)), budget)
    return [[units[place] for place in group] for group in padded_groups([unit.lengths for unit in units], budget)]


def _balanced(ordered: Sequence[UnitT], budget: int) -> list[list[UnitT]]:
    """As few groups as possible, of nearly equal size: a small last group would be slow for its size.

    Each unit goes to the group that is smallest so far.
    """
    alone = [[unit] for unit in ordered if sum(unit.lengths) > budget]
    rest = [unit for unit in ordered if sum(unit.lengths) <= budget]
    fewest = -(-sum(sum(unit.lengths) for unit in rest) // budget)
    for wanted in range(fewest, len(rest)):
        heap = [(0, i) for i in range(wanted)]
        groups: list[list[UnitT]] = [[] for _ in heap]
        for unit in rest:
            total, i = heap[0]
            heapq.heapreplace(heap, (total + sum(unit.lengths), i))
            groups[i].append(unit)
        if max(heap)[0] <= budget:
            return alone + groups
    return alone + [[unit] for unit in rest]


def split_over_ranks(units: Sequence[UnitT], ranks: int) -> list[list[UnitT]]:
    """Units for each rank, dealt in a snake order by length, so that ranks have nearly equal numbers of tokens."""
    ordered = sorted(units, key=lambda unit: -sum(unit.lengths))
    by_rank: list[list[UnitT]] = [[] for _ in range(ranks)]
    for i, unit in enumerate(ordered):
        lap, rank = divmod(i, ranks)
        by_rank[rank if lap % 2 == 0 else ranks - 1 - rank].append(unit)
    return by_rank
