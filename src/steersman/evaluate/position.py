"""Position bias: whether judgements follow the order in which answers were shown."""

from dataclasses import dataclass

import numpy as np

from steersman.evaluate.judged_pairs import JudgedPairs, rows_by
from steersman.maths.statistics import Interval, wilson_interval

ENOUGH = 8
"""Judgements (ties excluded) before an annotator is said to always choose one side: by chance 1 in 128 annotators."""


@dataclass(frozen=True, slots=True)
class SideHabit:
    """How often an annotator preferred the answer shown first; `always` is "first", "second" or ""."""

    annotator: str
    judgements: int
    first: Interval
    always: str


@dataclass(frozen=True, slots=True)
class Positions:
    """Position statistics of judgements.

    `one_sided`: the side of the record that every decided judgement prefers ("first" or "second", else ""). Files that
    put the preferred answer first look like this; it is no error, but it hides the order shown. `chosen_first`: how
    often the answer shown first was preferred, where the order is known.
    """

    one_sided: str
    known: int
    chosen_first: Interval | None
    habits: tuple[SideHabit, ...]

    @property
    def suspicious(self) -> tuple[SideHabit, ...]:
        return tuple(habit for habit in self.habits if habit.always)


def measure_positions(judged: JudgedPairs, *, confidence: float) -> Positions:
    says_first = judged.preference > 0.5
    decided = judged.decided
    one_sided = "first" if says_first[decided].all() else "" if says_first[decided].any() else "second"
    if decided.sum() < ENOUGH:
        one_sided = ""
    known = [i for i in np.flatnonzero(decided) if judged.shown[i]]
    if not known and not one_sided:
        # The order shown was not recorded; the order in the record is the best guess.
        known, place = list(np.flatnonzero(decided)), ["first"] * len(judged)
    else:
        place = list(judged.shown)
    chose_first = {int(i): bool(says_first[i]) == (place[i] == "first") for i in known}
    if not chose_first:
        return Positions(one_sided, 0, None, ())
    total = wilson_interval(float(sum(chose_first.values())), float(len(chose_first)), confidence=confidence)
    rows = list(chose_first)
    habits: list[SideHabit] = []
    for annotator, members in rows_by([judged.annotator[i] for i in rows]).items():
        times = sum(chose_first[rows[m]] for m in members)
        always = "first" if times == len(members) else "second" if times == 0 else ""
        share = wilson_interval(float(times), float(len(members)), confidence=confidence)
        habits.append(SideHabit(str(annotator), len(members), share, always if len(members) >= ENOUGH else ""))
    return Positions(one_sided, len(known), total, tuple(habits))
