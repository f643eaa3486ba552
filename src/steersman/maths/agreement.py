"""Krippendorff's alpha, with a bootstrap interval.

Krippendorff 2011, "Computing Krippendorff's alpha-reliability": alpha = 1 - observed / expected disagreement. Labels
that are alone in their unit say nothing about agreement and are left out. The interval resamples units with replacement
(Zapf et al. 2016, BMC Med Res Methodol 16:93), since the labels of a unit are not independent.
"""

import math
from typing import Literal, TypeAlias

import numpy as np

from steersman.maths.statistics import FloatArray, Interval, Units, label_counts

Level: TypeAlias = Literal["nominal", "ordinal", "interval", "ratio"]


def krippendorff_alpha(units: Units, *, level: Level) -> float:
    """Krippendorff's alpha; NaN where it is undefined: only one label was used, or no unit has two labels.

    Above the nominal level labels must be numbers (at the ordinal level, ranks).
    """
    counts, values = _paired(units, level)
    return _alpha(counts, values, level)


def krippendorff_interval(
    units: Units, *, level: Level, confidence: float, resamples: int, generator: np.random.Generator
) -> Interval:
    """Krippendorff's alpha with a percentile bootstrap interval over the units; NaN where alpha is undefined.

    Resamples in which every label is the same have no alpha and are left out.
    """
    counts, values = _paired(units, level)
    estimate = _alpha(counts, values, level)
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan)
    drawn = [_alpha(counts[generator.integers(len(counts), size=len(counts))], values, level) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.array([*drawn, estimate]), [tail, 1 - tail])
    # With very few units the percentiles can miss the estimate itself.
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _paired(units: Units, level: Level) -> tuple[FloatArray, FloatArray]:
    """Counts [unit, label] of the units with two labels or more, and the labels as numbers."""
    counts, labels = label_counts([unit for unit in units if len(unit) > 1], ordered=level != "nominal")
    values = np.arange(len(labels)) if level == "nominal" else np.array(labels)
    return counts.astype(np.float64), values.astype(np.float64)


def _alpha(counts: FloatArray, values: FloatArray, level: Level) -> float:
    totals = counts.sum(axis=0)
    if (totals > 0).sum() < 2:
        return math.nan
    size = counts.sum(axis=1)
    distance = _distances(values, totals, level)
    # The pairs within a unit of m labels weigh 1 / (m - 1), so that each label counts once.
    observed = float((((counts @ distance) * counts).sum(axis=1) / (size - 1)).sum() / totals.sum())
    expected = float(totals @ distance @ totals / (totals.sum() * (totals.sum() - 1)))
    return 1 - observed / expected


def _distances(values: FloatArray, totals: FloatArray, level: Level) -> FloatArray:
    """The squared difference between every two labels (section 5 of the paper)."""
    one, other = values[:, None], values[None, :]
    match level:
        case "nominal":
            return (one != other).astype(np.float64)
        case "interval":
            return (one - other) ** 2
        case "ratio":
            both = one + other
            return np.where(both == 0, 0.0, (one - other) / np.where(both == 0, 1.0, both)) ** 2
        case "ordinal":
            # Labels from the one to the other, the two at the ends counted half.
            middle = np.cumsum(totals) - totals / 2
            return (middle[:, None] - middle[None, :]) ** 2
