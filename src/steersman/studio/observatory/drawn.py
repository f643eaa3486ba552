"""Curves as a browser gets them: few points, whatever the journal's length.

A long curve is cut into buckets of steps; each has the mean of its values, and the lowest and the highest, which are
drawn as a faint band. No spike is lost, and 50,000 rows are as many bytes as a thousand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.reports.charts import Chart, charts_of, other_charts, range_of
from steersman.runs.columns import JournalColumns

MOST_POINTS, BUCKETS = 600, 300
DIGITS = 5
Points = NDArray[np.float64]
"""Steps and values, a row each."""


@dataclass(frozen=True, slots=True)
class ThinnedCurve:
    """One curve over the steps of its chart: means, and where it was cut into buckets the range in each."""

    name: str
    key: str
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "key": self.key, "mean": list(self.mean)}
        return found if self.low is None else {**found, "low": list(self.low), "high": list(self.high or ())}


def charts_for(journal: JournalColumns) -> dict[str, Any]:
    """All charts of a run, with the cursor from which on new rows belong to them."""
    main = [one for chart in charts_of(journal) if (one := _chart(journal, chart))]
    others = [one for chart in other_charts(journal) if (one := _chart(journal, chart))]
    return {
        "cursor": journal.cursor,
        "rows": len(journal),
        "x": "iteration" if journal.in_the_loop else "step",
        "main": main,
        "others": others,
    }


def _chart(journal: JournalColumns, chart: Chart) -> dict[str, Any] | None:
    names = {key: name for name, key in chart.lines().items() if key in journal}
    if not names:
        return None
    healthy = range_of(journal, chart.key)
    found = drawn_together({key: journal.drawn(key) for key in names}, names)
    band = None if healthy is None else [healthy.low, healthy.high]
    return {"title": chart.title, "key": chart.key, "band": band, **found}


def drawn_together(curves: Mapping[str, Points], names: Mapping[str, str]) -> dict[str, Any]:
    """Curves over common steps. More than `MOST_POINTS` steps are cut into buckets."""
    steps = np.unique(np.concatenate([points[:, 0] for points in curves.values()])).tolist()
    if len(steps) <= MOST_POINTS:
        by_step = {key: dict(points.tolist()) for key, points in curves.items()}
        drawn = [
            ThinnedCurve(names[key], key, tuple(rounded(by_step[key].get(step)) for step in steps)) for key in curves
        ]
        return {"x": [_whole(step) for step in steps], "curves": [one.as_dict() for one in drawn]}
    edges = np.linspace(steps[0], steps[-1], BUCKETS + 1)
    middles = [round(float(middle)) for middle in (edges[:-1] + edges[1:]) / 2]
    drawn = [_bucketed(names[key], key, points, edges) for key, points in curves.items()]
    return {"x": middles, "curves": [one.as_dict() for one in drawn]}


def _bucketed(name: str, key: str, points: Points, edges: np.ndarray) -> ThinnedCurve:
    # A journal that was resumed may have a step twice, but never in another order.
    places = np.clip(np.searchsorted(edges, points[:, 0], side="right") - 1, 0, len(edges) - 2)
    filled, starts = np.unique(places, return_index=True)
    values = points[:, 1]
    sums, counts = np.add.reduceat(values, starts), np.diff([*starts, len(values)])
    columns = (sums / counts, np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts))
    mean, low, high = (_spread(filled, column, len(edges) - 1) for column in columns)
    return ThinnedCurve(name, key, mean, low, high)


def _spread(places: np.ndarray, values: np.ndarray, count: int) -> tuple[float | None, ...]:
    found: list[float | None] = [None] * count
    for place, value in zip(places.tolist(), values.tolist(), strict=True):
        found[place] = rounded(value)
    return tuple(found)


def new_rows(journal: JournalColumns, since: int) -> dict[str, list[list[float | int | None]]]:
    """What is new from row number `since` on, by metric: (step, value) pairs."""
    return {
        name: [[_whole(step), rounded(value)] for step, value in points]
        for name in journal.metrics
        if (points := journal.values(name, since))
    }


def rounded(value: float | None) -> float | None:
    """The value with as many digits as a chart can show."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _whole(step: float) -> float | int:
    return int(step) if float(step).is_integer() else step
