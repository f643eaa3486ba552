"""Figures: one number about one model with its interval, number of prompts, and change from the baseline.

Every interval is over prompts, which are independent; the answers to one prompt are not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import FloatArray, Interval, bootstrap_interval, wilson_interval

Better = Literal["higher", "lower", ""]
Unit = Literal["number", "share", "mean share", "nats", "perplexity", "tokens"]
"""A share is a proportion of yes/no values; a mean share is the mean of numbers from 0 to 1."""
Verdict = Literal["better", "worse", "other", "unclear", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """What a figure measures. `better`: which direction is good, "" if neither is."""

    group: str
    name: str
    unit: Unit
    better: Better
    meaning: str


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One number about one model.

    `change`: this model minus the baseline on the same prompts; None for the baseline.
    """

    measure: Measure
    model: str
    value: Interval
    prompts: int
    change: Interval | None

    @property
    def verdict(self) -> Verdict:
        """Whether the change's interval excludes 0, and in which direction."""
        if self.change is None:
            return ""
        if self.change.low <= 0 <= self.change.high:
            return "unclear"
        if not self.measure.better:
            return "other"
        return "better" if (self.change.estimate > 0) == (self.measure.better == "higher") else "worse"

    def as_dict(self) -> dict[str, Any]:
        facts = {
            "model": self.model,
            "value": self.value,
            "n": self.prompts,
            "change": self.change,
            "verdict": self.verdict,
        }
        return {**plain(self.measure), **{name: plain(value) for name, value in facts.items()}}


@dataclass(frozen=True)
class Intervals:
    """How confidence intervals are computed. The same values always give the same interval: the seed is fixed."""

    confidence: float
    resamples: int
    seed: int

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def mean(self, values: Float[ndarray, " prompts"]) -> Interval:
        return bootstrap_interval(
            values, confidence=self.confidence, resamples=self.resamples, generator=self.generator()
        )

    def of(self, rows: Float[ndarray, "prompts ..."], statistic: Callable[[FloatArray], float]) -> Interval:
        return bootstrap_interval(
            rows,
            confidence=self.confidence,
            resamples=self.resamples,
            generator=self.generator(),
            statistic=statistic,
        )

    def share(self, values: Float[ndarray, " prompts"]) -> Interval:
        """A Wilson interval with as many trials as prompts: conservative if a prompt has several answers."""
        return wilson_interval(float(values.sum()), float(len(values)), confidence=self.confidence)


@dataclass(frozen=True)
class Column:
    """One model's values for a figure: a row per prompt."""

    model: str
    rows: Float[ndarray, "prompts ..."]


def figures(measure: Measure, columns: list[Column], baseline: str, intervals: Intervals) -> list[MetricValue]:
    """Means over prompts, and the paired change of each model from the baseline."""
    of_baseline = next((column.rows for column in columns if column.model == baseline), None)
    found: list[MetricValue] = []
    for column in columns:
        value = intervals.share(column.rows) if measure.unit == "share" else intervals.mean(column.rows)
        change = None if of_baseline is None or column.model == baseline else intervals.mean(column.rows - of_baseline)
        found.append(MetricValue(measure, column.model, value, len(column.rows), change))
    return found


def ratio_figures(
    measure: Measure, columns: list[Column], baseline: str, intervals: Intervals, finish: Callable[[float], float]
) -> list[MetricValue]:
    """Figures of ratios such as perplexity, from rows (numerator, denominator).

    The value is finish(sum of numerators / sum of denominators).
    """

    def ratio(rows: FloatArray) -> float:
        return finish(float(rows[:, 0].sum()) / max(float(rows[:, 1].sum()), 1e-300))

    def difference(rows: FloatArray) -> float:
        return ratio(rows[:, :2]) - ratio(rows[:, 2:])

    of_baseline = next((column.rows for column in columns if column.model == baseline), None)
    found: list[MetricValue] = []
    for column in columns:
        change = None
        if of_baseline is not None and column.model != baseline:
            change = intervals.of(np.concatenate([column.rows, of_baseline], axis=1), difference)
        found.append(MetricValue(measure, column.model, intervals.of(column.rows, ratio), len(column.rows), change))
    return found


def by_measure(found: list[MetricValue]) -> dict[str, list[MetricValue]]:
    """The figures of each measure, by "group/name"."""
    groups: dict[str, list[MetricValue]] = {}
    for figure in found:
        groups.setdefault(f"{figure.measure.group}/{figure.measure.name}", []).append(figure)
    return groups
