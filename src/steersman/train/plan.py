"""Which rows go through the model together: micro-batches by a budget of padded tokens, sorted by length, and each
process's share of a global batch. Pure functions of the lengths, so that a resumed run makes the same ones."""

from collections.abc import Sequence

from steersman.train.objective import UnitT


def micro_batches(units: Sequence[UnitT], budget: int, *, packed: bool) -> list[list[UnitT]]:
    """Units in groups of at most `budget` tokens, longest first; a unit above the budget goes alone.

    What counts is rows times the longest of them, or, for rows that will be packed, their sum.
    """
    measured = [(unit, unit.lengths) for unit in units]
    measured.sort(key=lambda one: -max(one[1]))
    groups: list[list[UnitT]] = []
    rows = widest = total = 0
    for unit, lengths in measured:
        rows, widest, total = rows + len(lengths), max(widest, *lengths), total + sum(lengths)
        if groups and (total if packed else rows * widest) <= budget:
            groups[-1].append(unit)
        else:
            groups.append([unit])
            rows, widest, total = len(lengths), max(lengths), sum(lengths)
    return groups


def deal(units: Sequence[UnitT], ranks: int) -> list[list[UnitT]]:
    """Units dealt to the processes in a snake by length, so that each has nearly as many tokens as the next."""
    ordered = sorted(units, key=lambda unit: -sum(unit.lengths))
    hands: list[list[UnitT]] = [[] for _ in range(ranks)]
    for i, unit in enumerate(ordered):
        lap, seat = divmod(i, ranks)
        hands[seat if lap % 2 == 0 else ranks - 1 - seat].append(unit)
    return hands
