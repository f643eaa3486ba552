"""Which rows go through the model together: micro-batches by a budget of padded tokens, sorted by length, and each
process's share of a global batch. Pure functions of the lengths, so that a resumed run makes the same ones."""

from collections.abc import Sequence

from steersman.train.objective import UnitT


def micro_batches(units: Sequence[UnitT], budget: int) -> list[list[UnitT]]:
    """Units in groups of at most `budget` padded tokens, longest first; a unit above the budget goes alone."""
    ordered = sorted(units, key=lambda unit: -max(unit.lengths))
    groups: list[list[UnitT]] = []
    rows = widest = 0
    for unit in ordered:
        rows_then, widest_then = rows + len(unit.lengths), max(widest, *unit.lengths)
        if groups and rows_then * widest_then <= budget:
            groups[-1].append(unit)
            rows, widest = rows_then, widest_then
        else:
            groups.append([unit])
            rows, widest = len(unit.lengths), max(unit.lengths)
    return groups


def deal(units: Sequence[UnitT], ranks: int) -> list[list[UnitT]]:
    """Units dealt to the processes in a snake by length, so that each has nearly as many tokens as the next."""
    ordered = sorted(units, key=lambda unit: -sum(unit.lengths))
    hands: list[list[UnitT]] = [[] for _ in range(ranks)]
    for i, unit in enumerate(ordered):
        lap, seat = divmod(i, ranks)
        hands[seat if lap % 2 == 0 else ranks - 1 - seat].append(unit)
    return hands
