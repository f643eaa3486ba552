"""How far annotators agree: percent, kappa and Krippendorff's alpha with intervals, by kind of task and by two people.

One label of each annotator and item; gold items, decisions and repeats are left out. The intervals resample items.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from steersman.maths.agreement import Level, krippendorff_interval
from steersman.maths.kappa import cohen_kappa, fleiss_kappa
from steersman.maths.statistics import Interval, bootstrap_interval, pairwise_agreement
from steersman.store.judged import CLASSES, JudgedRow
from steersman.store.matching import likeness

CONFIDENCE, RESAMPLES = 0.95, 200
FEWEST = 5
"""Items that two annotators share, before a figure of these two is given."""
MOST_PEOPLE = 30
"""Annotators with the most labels, of whom each two are compared."""
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement about one kind of task (of ratings: one attribute), over items with two labels or more."""

    about: str
    items: int
    labels: int
    percent: Interval
    kappa: Interval
    alpha: Interval
    level: str


@dataclass(frozen=True, slots=True)
class TwoAnnotators:
    """Two annotators' agreement about the pairs and thumbs that both judged."""

    first: str
    second: str
    shared: int
    percent: Interval
    kappa: Interval


def measure_agreement(rows: Sequence[JudgedRow]) -> list[Agreement]:
    mine = own_labels(rows)
    found = [_nominal(kind, [row for row in mine if row.kind == kind]) for kind in CLASSES]
    found += _ratings([row for row in mine if row.kind == "rating"])
    found += [_rankings([row for row in mine if row.kind == "ranking"])]
    return [one for one in found if one is not None]


def own_labels(rows: Iterable[JudgedRow]) -> list[JudgedRow]:
    """The first label of each annotator about each ordinary item."""
    first: dict[tuple[int, str, int], JudgedRow] = {}
    for row in rows:
        if not row.decided and not row.repeat and row.gold is None:
            first.setdefault((row.item, row.annotator, 0 if row.annotator else row.number), row)
    return list(first.values())


def _by_item(rows: Iterable[JudgedRow]) -> list[list[JudgedRow]]:
    items: dict[int, list[JudgedRow]] = {}
    for row in rows:
        items.setdefault(row.item, []).append(row)
    return [labels for labels in items.values() if len(labels) > 1]


def _nominal(kind: str, rows: Sequence[JudgedRow]) -> Agreement | None:
    units = [[row.label for row in labels] for labels in _by_item(rows)]
    return None if not units else _figures(kind, units, "nominal")


def _ratings(rows: Sequence[JudgedRow]) -> list[Agreement | None]:
    names = sorted({name for row in rows for name in row.verdict.get("ratings") or {}})
    found: list[Agreement | None] = []
    for name in names:
        given = [row for row in rows if name in (row.verdict.get("ratings") or {})]
        units = [[float(row.verdict["ratings"][name]) for row in labels] for labels in _by_item(given)]
        found.append(None if not units else _figures(f"rating: {name}", units, "ordinal"))
    return found


def _figures(about: str, units: Sequence[Sequence[Any]], level: Level) -> Agreement:
    sample: dict[str, Any] = {"confidence": CONFIDENCE, "resamples": RESAMPLES}
    kappa = fleiss_kappa(units, **sample, generator=np.random.default_rng(0))
    alpha = krippendorff_interval(units, level=level, **sample, generator=np.random.default_rng(0))
    percent = pairwise_agreement(units, confidence=CONFIDENCE)
    return Agreement(about, len(units), sum(map(len, units)), percent, kappa, alpha, level)


def _rankings(rows: Sequence[JudgedRow]) -> Agreement | None:
    """Rankings: the share of pairs of answers in the same order, by item."""
    units = _by_item(rows)
    shares: list[float] = []
    for labels in units:
        alike = [likeness("ranking", a.verdict, b.verdict) for a, b in combinations(labels, 2)]
        shares += [float(np.mean(known))] if (known := [one for one in alike if one is not None]) else []
    if not shares:
        return None
    mean = float(np.mean(shares))
    percent = (
        bootstrap_interval(shares, confidence=CONFIDENCE, resamples=RESAMPLES, generator=np.random.default_rng(0))
        if len(shares) > 1
        else Interval(mean, 0.0, 1.0)
    )
    return Agreement("ranking", len(shares), sum(map(len, units)), percent, UNKNOWN, UNKNOWN, "order of two answers")


def compare_annotators(rows: Sequence[JudgedRow]) -> list[TwoAnnotators]:
    """Every two of the annotators with the most labels, with the items that both judged."""
    labels: dict[str, dict[int, Any]] = {}
    for row in own_labels(rows):
        if row.annotator and row.label is not None:
            labels.setdefault(row.annotator, {})[row.item] = row.label
    people = sorted(sorted(labels, key=lambda who: -len(labels[who]))[:MOST_PEOPLE])
    found: list[TwoAnnotators] = []
    for one, other in combinations(people, 2):
        shared = sorted(labels[one].keys() & labels[other].keys())
        if len(shared) >= FEWEST:
            mine, theirs = [labels[one][item] for item in shared], [labels[other][item] for item in shared]
            percent = pairwise_agreement(list(zip(mine, theirs, strict=True)), confidence=CONFIDENCE)
            found.append(
                TwoAnnotators(one, other, len(shared), percent, cohen_kappa(mine, theirs, confidence=CONFIDENCE))
            )
    return found
