"""Each annotator: reliability, gold items, repeats, habits and time. What is conspicuous is said in a sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from steersman.maths.statistics import Interval, wilson_interval
from steersman.quality.bias import ChosenShare, measure_bias
from steersman.quality.features import PairForm
from steersman.store.judged import JudgedRow
from steersman.store.matching import likeness
from steersman.store.practice import RIGHT
from steersman.store.soft import ReliabilityModel

CONFIDENCE = 0.95
FEWEST = 10
"""Observations, before something is said of an annotator."""
HASTY = 3.0
"""A median by this factor below the others' is fast."""
LEAST_GOLD, LEAST_STEADY, MOST_POSITION = 0.7, 0.6, 0.1


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds by label: how many are known, quartiles and sum; the share that took less than a third of the median of
    all."""

    known: int
    median: float
    lower: float
    upper: float
    total: float
    hasty: float


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """`reliability`: the probability that a label is what all labels together say. `gold`: the share of known answers
    given; `steady`: the share of repeats judged as before."""

    annotator: str
    labels: int
    reliability: Interval | None
    gold: ChosenShare | None
    steady: ChosenShare | None
    position: ChosenShare | None
    length: ChosenShare | None
    formatting: ChosenShare | None
    times: Times | None
    conspicuous: tuple[str, ...]


def measure_people(
    rows: Sequence[JudgedRow], forms: Mapping[int, PairForm], models: Mapping[str, ReliabilityModel]
) -> list[AnnotatorFigures]:
    """The annotators of these labels, those with the most labels first."""
    by_person: dict[str, list[JudgedRow]] = {}
    for row in rows:
        if not row.decided:
            by_person.setdefault(row.annotator, []).append(row)
    first: dict[tuple[str, int], JudgedRow] = {}
    for row in rows:
        if not row.repeat and not row.decided:
            first.setdefault((row.annotator, row.item), row)
    usual = median_by_kind(rows)
    found = [_figures(who, mine, forms, models, first, usual) for who, mine in by_person.items() if who]
    return sorted(found, key=lambda one: (-one.labels, one.annotator))


def _figures(
    who: str,
    rows: Sequence[JudgedRow],
    forms: Mapping[int, PairForm],
    models: Mapping[str, ReliabilityModel],
    first: Mapping[tuple[str, int], JudgedRow],
    usual: Mapping[str, float],
) -> AnnotatorFigures:
    gold = _share([likeness(row.kind, row.verdict, row.gold) for row in rows if row.gold is not None], RIGHT)
    again = [(row, first[who, row.item]) for row in rows if row.repeat and (who, row.item) in first]
    steady = _share([likeness(row.kind, row.verdict, before.verdict) for row, before in again], RIGHT)
    bias = measure_bias(rows, forms)
    times = measure_times(rows, usual)
    return AnnotatorFigures(
        who,
        len(rows),
        _reliability(who, models),
        gold,
        steady,
        bias.position,
        bias.length,
        bias.formatting,
        times,
        tuple(_sentences(gold, steady, bias.position, times)),
    )


def _share(alike: Sequence[float | None], least: float) -> ChosenShare | None:
    known = [one >= least for one in alike if one is not None]
    if not known:
        return None
    return ChosenShare(len(known), wilson_interval(float(sum(known)), float(len(known)), confidence=CONFIDENCE))


def _reliability(who: str, models: Mapping[str, ReliabilityModel]) -> Interval | None:
    """Over all kinds of tasks, weighted by labels. The interval is that of a share of so many labels."""
    right, weight = 0.0, 0.0
    for model in models.values():
        if who in model.annotators:
            place = model.annotators.index(who)
            size = float(model.model.weight[place])
            right, weight = right + size * float(model.model.right[place]), weight + size
    if not weight:
        return None
    return wilson_interval(min(right, weight), weight, confidence=CONFIDENCE)


def median_by_kind(rows: Sequence[JudgedRow]) -> dict[str, float]:
    """The median seconds of each kind of task."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row.seconds is not None and not row.decided:
            seconds.setdefault(row.kind, []).append(row.seconds)
    return {kind: float(np.median(found)) for kind, found in seconds.items()}


def measure_times(rows: Sequence[JudgedRow], usual: Mapping[str, float]) -> Times | None:
    timed = [row for row in rows if row.seconds is not None and not row.decided]
    if not timed:
        return None
    seconds = np.array([row.seconds for row in timed], dtype=np.float64)
    hasty = np.mean([(row.seconds or 0.0) * HASTY < usual.get(row.kind, 0.0) for row in timed])
    lower, median, upper = (float(one) for one in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return Times(len(timed), median, lower, upper, float(seconds.sum()), float(hasty))


def _sentences(
    gold: ChosenShare | None, steady: ChosenShare | None, position: ChosenShare | None, times: Times | None
) -> list[str]:
    found: list[str] = []
    if gold is not None and gold.choices >= FEWEST and gold.chosen.high < LEAST_GOLD:
        found.append(f"gave the known answer of {gold.chosen.estimate:.0%} of {gold.choices} gold items")
    if steady is not None and steady.choices >= FEWEST and steady.chosen.high < LEAST_STEADY:
        found.append(f"judged {steady.chosen.estimate:.0%} of {steady.choices} repeats as before")
    if position is not None and position.choices >= FEWEST and _far(position):
        side = "first" if position.chosen.estimate > 0.5 else "second"
        share = max(position.chosen.estimate, 1 - position.chosen.estimate)
        found.append(f"chose the answer shown {side} in {share:.0%} of {position.choices} choices")
    if times is not None and times.known >= FEWEST and times.hasty > 0.5:
        found.append(f"took less than a third of the median time for {times.hasty:.0%} of {times.known} labels")
    return found


def _far(position: ChosenShare) -> bool:
    """Whether a position share is beyond one half by more than MOST_POSITION, at 99.9 %: one of many is looked at."""
    error = math.sqrt((0.25 - MOST_POSITION**2) / position.choices)
    return abs(position.chosen.estimate - 0.5) - MOST_POSITION > NormalDist().inv_cdf(0.9995) * error
