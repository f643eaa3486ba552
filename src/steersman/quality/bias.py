"""The bias ledger: how often the answer was chosen that was shown first, is longer, or is formatted.

The order on the screen is stored with each label, and is random, so a share far from one half is the screen's doing. A
longer or formatted answer may be the better one: its share is a bias only against what others, or gold, say. The last
figures take all three causes together (logistic regression), since longer answers have more lists.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from steersman.maths.logistic import fit_logistic
from steersman.maths.statistics import Interval, wilson_interval
from steersman.quality.features import PairForm
from steersman.store.judged import JudgedRow

CONFIDENCE = 0.95
FEWEST = 20
"""Choices, before the causes are told apart."""
MOST_ERROR = 2.0
"""Of a figure that is given: the standard error of its logarithm."""
CAUSES = ("shown first", "twice as long", "formatted")


@dataclass(frozen=True, slots=True)
class ChosenShare:
    """How often an answer of some kind was chosen, of so many choices in which there was one."""

    choices: int
    chosen: Interval


@dataclass(frozen=True, slots=True)
class Cause:
    """By what factor a cause raises the odds that an answer is chosen, the other causes being the same."""

    cause: str
    odds: Interval


@dataclass(frozen=True, slots=True)
class Bias:
    """Shares of choices; None where there is no such choice. `together` is empty with few choices."""

    position: ChosenShare | None
    length: ChosenShare | None
    formatting: ChosenShare | None
    together: tuple[Cause, ...]


def measure_bias(rows: Sequence[JudgedRow], forms: Mapping[int, PairForm]) -> Bias:
    """The bias ledger of these labels: of pairs in which one answer was preferred."""
    decided = [row for row in rows if row.kind == "pair" and not row.decided and row.label in (0, 1)]
    shown = {"first": 0, "second": 1}
    return Bias(
        _share(decided, lambda row: shown.get(str(row.verdict.get("shown")), -1)),
        _share(decided, lambda row: forms[row.item].longer if row.item in forms else -1),
        _share(decided, lambda row: forms[row.item].formatted if row.item in forms else -1),
        _together([row for row in decided if row.verdict.get("shown") in shown and row.item in forms], forms),
    )


def _share(rows: Sequence[JudgedRow], which: Callable[[JudgedRow], int]) -> ChosenShare | None:
    choices = [row.label == answer for row in rows if (answer := which(row)) >= 0]
    if not choices:
        return None
    return ChosenShare(len(choices), wilson_interval(float(sum(choices)), float(len(choices)), confidence=CONFIDENCE))


def _together(rows: Sequence[JudgedRow], forms: Mapping[int, PairForm]) -> tuple[Cause, ...]:
    if len(rows) < FEWEST:
        return ()
    # The first answer against the second: without an intercept, since which is the first is arbitrary.
    columns = np.array([_causes(row, forms[row.item]) for row in rows])
    fit = fit_logistic(columns, np.array([float(row.label == 0) for row in rows]))
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    found: list[Cause] = []
    # Shown first is +1 against -1, twice as long a step of log 2, formatted +1 against none.
    for k, (cause, step) in enumerate(zip(CAUSES, (2.0, math.log(2.0), 1.0), strict=True)):
        if np.ptp(columns[:, k]) == 0 or float(fit.error[k]) * step > MOST_ERROR:
            continue  # it never varied, or never without another cause
        middle, half = step * float(fit.coefficient[k]), step * z * float(fit.error[k])
        found.append(Cause(cause, Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))))
    return tuple(found)


def _causes(row: JudgedRow, form: PairForm) -> list[float]:
    shown = 1.0 if row.verdict["shown"] == "first" else -1.0
    formatted = {0: 1.0, 1: -1.0, -1: 0.0}[form.formatted]
    return [shown, math.log((form.lengths[0] + 20) / (form.lengths[1] + 20)), formatted]
