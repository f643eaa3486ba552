"""Kappa: agreement beyond chance. Cohen's for two annotators, Fleiss' for many, each with an interval.

Cohen 1960; its standard error is Fleiss, Cohen and Everitt 1969. Fleiss 1971, for items with any number of labels, with
a bootstrap over the items.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

from steersman.maths.statistics import FloatArray, Interval, Units, label_counts


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable], *, confidence: float) -> Interval:
    """Cohen's kappa of two annotators' labels of the same items; NaN where both used one label only."""
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} labels; expected as many, and some")
    place = {label: i for i, label in enumerate(dict.fromkeys([*first, *second]))}
    table = np.zeros((len(place), len(place)))
    for a, b in zip(first, second, strict=True):
        table[place[a], place[b]] += 1.0
    table /= len(first)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float(np.trace(table)), float(rows @ columns)
    if expected > 1 - 1e-12:
        return Interval(math.nan, math.nan, math.nan)
    kappa = (observed - expected) / (1 - expected)
    both = rows[None, :] + columns[:, None]
    agreeing = float((np.diag(table) * (1 - np.diag(both) * (1 - kappa)) ** 2).sum())
    off = table - np.diag(np.diag(table))
    other = (1 - kappa) ** 2 * float((off * both**2).sum())
    variance = (agreeing + other - (kappa - expected * (1 - kappa)) ** 2) / (len(first) * (1 - expected) ** 2)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(max(0.0, variance))
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half))


def fleiss_kappa(units: Units, *, confidence: float, resamples: int, generator: np.random.Generator) -> Interval:
    """Fleiss' kappa over units with two labels or more; NaN where it is undefined. The interval resamples units."""
    counts, _ = label_counts([unit for unit in units if len(unit) > 1], ordered=False)
    counts = counts.astype(np.float64)
    estimate = _fleiss(counts)
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan)
    drawn = [_fleiss(counts[generator.integers(len(counts), size=len(counts))]) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.array([*drawn, estimate]), [tail, 1 - tail])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _fleiss(counts: FloatArray) -> float:
    size = counts.sum(axis=1)
    share = counts.sum(axis=0) / max(1.0, counts.sum())
    expected = float(np.square(share).sum())
    if not len(counts) or expected > 1 - 1e-12:
        return math.nan
    # Each label counts once: an item with more labels weighs more.
    within = (np.square(counts).sum(axis=1) - size) / (size - 1)
    return (float(within.sum() / size.sum()) - expected) / (1 - expected)
