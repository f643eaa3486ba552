"""Which rows go through the model together: micro-batches by a budget of padded tokens, sorted by length, and each
process's share of a global batch. Pure functions of the lengths, so that a resumed run makes the same ones."""

import heapq
from collections.abc import Sequence

from steersman.models.rows import padded_groups
from steersman.train.objective import UnitT


def micro_batches(units: Sequence[UnitT], budget: int, *, packed: bool) -> list[list[UnitT]]:
    """Units in groups of at most `budget` tokens, longest first; a unit above the budget goes alone.

    What counts is rows times the longest of them, or, where no padding is computed (`packed`), their sum.
    """
    if packed:
        return _evenly(sorted(units, key=lambda unit: -max(unit.lengths)), budget)
    return [[units[place] for place in group] for group in padded_groups([unit.lengths for unit in units], budget)]


def _evenly(ordered: Sequence[UnitT], budget: int) -> list[list[UnitT]]:
    """As few groups as fit, of nearly equal size, each unit to the group that is smallest so far: a last group of two short
    rows would be slow for its size."""
    alone = [[unit] for unit in ordered if sum(unit.lengths) > budget]
    rest = [unit for unit in ordered if sum(unit.lengths) <= budget]
    fewest = -(-sum(sum(unit.lengths) for unit in rest) // budget)
    for wanted in range(fewest, len(rest) + 1):
        heap = [(0, i) for i in range(wanted)]
        groups: list[list[UnitT]] = [[] for _ in heap]
        for unit in rest:
            total, i = heap[0]
            heapq.heapreplace(heap, (total + sum(unit.lengths), i))
            groups[i].append(unit)
        if max(heap, default=(0, 0))[0] <= budget:
            return alone + groups
    return alone


def deal(units: Sequence[UnitT], ranks: int) -> list[list[UnitT]]:
    """Units dealt to the processes in a snake by length, so that each has nearly as many tokens as the next."""
    ordered = sorted(units, key=lambda unit: -sum(unit.lengths))
    hands: list[list[UnitT]] = [[] for _ in range(ranks)]
    for i, unit in enumerate(ordered):
        lap, seat = divmod(i, ranks)
        hands[seat if lap % 2 == 0 else ranks - 1 - seat].append(unit)
    return hands
