"""Reward over-optimisation: gains of the proxy scorer and of other scorers against the KL from the initial model.

The distance is d = sqrt(KL). Gains are over the initial model, so every curve begins at (0, 0), in standard deviations
of its answers' scores, so that scorers of different scales share an axis. Gao, Schulman and Hilton (2022, arXiv
2210.10760) found for the gold reward

    R_RL(d) = d (a - b log d)        R_bon(d) = d (a - b d)

Both are linear in a and b. Intervals are bootstrapped over prompts; a rejected fit states why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import Interval

Shape = Literal["trained", "best of n"]

FEWEST_POINTS = 4
"""Two parameters are fitted, so fewer points could hardly contradict the curve."""
LEAST_R_SQUARED = 0.8
FORMULA = {"trained": "d (a - b log d)", "best of n": "d (a - b d)"}


@dataclass(frozen=True, slots=True)
class Walk:
    """A series of models at growing distance from the initial model: KL and gain by each scorer, per prompt."""

    shape: Shape
    name: str
    names: tuple[str, ...]
    kl: Float[ndarray, "models prompts"]
    gains: dict[str, Float[ndarray, "models prompts"]]


@dataclass(frozen=True, slots=True)
class Point:
    name: str
    kl: float
    distance: float
    gain: Interval


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted curve.

    `broken`: why the fit is rejected, None if it holds. `peak`: the distance of the maximum, if b > 0.
    """

    formula: str
    a: Interval
    b: Interval
    r_squared: float
    peak: float | None
    broken: str | None

    @property
    def holds(self) -> bool:
        return self.broken is None


@dataclass(frozen=True, slots=True)
class GainCurve:
    """One scorer's gains along one series of models.

    `fallen`: best gain minus the last model's gain, paired over prompts; None if the last model is the best.
    """

    walk: str
    shape: Shape
    measure: str
    points: tuple[Point, ...]
    fit: Fit | None
    missing: str | None
    """Why there is no fit."""
    fallen: Interval | None

    @property
    def best(self) -> Point:
        return max(self.points, key=lambda point: point.gain.estimate)


@dataclass(frozen=True)
class Overoptimisation:
    """All curves, those of the proxy (the scorer that was optimised) first."""

    start: str
    proxy: str
    curves: Sequence[GainCurve]
    prompts: int
    confidence: float
    wins: Sequence[tuple[str, float, Interval]] = field(default_factory=tuple[tuple[str, float, Interval], ...])
    """Human win rates against the initial model: (model, distance, win rate)."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "proxy": self.proxy,
            "prompts": self.prompts,
            "confidence": self.confidence,
            "unit": "standard deviations of the start's answers",
            "curves": [
                {**plain(curve), "fit": None if curve.fit is None else {**plain(curve.fit), "holds": curve.fit.holds}}
                for curve in self.curves
            ],
            "wins by people": [{"model": m, "distance": d, "wins": plain(w)} for m, d, w in self.wins],
        }


def measure_overoptimisation(
    walks: Sequence[Walk],
    *,
    start: str,
    proxy: str,
    confidence: float,
    resamples: int,
    seed: int,
    wins: Sequence[tuple[str, float, Interval]] = (),
) -> Overoptimisation:
    """The curves of every series of models and scorer, all on the same prompts."""
    curves: list[GainCurve] = []
    for walk in walks:
        for measure, gains in walk.gains.items():
            curves.append(_curve(walk, measure, gains, confidence, resamples, seed))
    curves.sort(key=lambda curve: curve.measure != proxy)
    return Overoptimisation(start, proxy, curves, walks[0].kl.shape[1], confidence, tuple(wins))


def _curve(
    walk: Walk, measure: str, gains: Float[ndarray, "models prompts"], confidence: float, resamples: int, seed: int
) -> GainCurve:
    generator = np.random.default_rng(seed)
    prompts = gains.shape[1]
    drawn = generator.integers(prompts, size=(resamples, prompts))
    kls = np.array([walk.kl[:, rows].mean(axis=1) for rows in drawn])
    means = np.array([gains[:, rows].mean(axis=1) for rows in drawn])
    kl, mean = walk.kl.mean(axis=1), gains.mean(axis=1)
    distances = distance_of(kl)
    points = tuple(
        Point(name, float(kl[i]), float(distances[i]), _interval(float(mean[i]), means[:, i], confidence))
        for i, name in enumerate(walk.names)
    )
    fit, missing = None, None
    if len(points) < FEWEST_POINTS or len(set(np.round(distances, 6))) < FEWEST_POINTS:
        missing = f"{len(points)} points; a fit needs {FEWEST_POINTS} or more at different distances"
    else:
        fit = _fitted(walk.shape, distances, mean, distance_of(kls), means, confidence)
    best = int(mean.argmax())
    fallen = None
    if best < len(points) - 1 and mean[best] > 0:
        fallen = _interval(float(mean[best] - mean[-1]), means[:, best] - means[:, -1], confidence)
    return GainCurve(walk.name, walk.shape, measure, points, fit, missing, fallen)


def distance_of(kl: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """sqrt(KL). A KL estimated from few answers may be negative; it is then taken as 0."""
    return np.sqrt(np.maximum(kl, 0.0))


def _fitted(
    shape: Shape,
    distances: Float[ndarray, " models"],
    gains: Float[ndarray, " models"],
    resampled_distances: Float[ndarray, "resamples models"],
    resampled_gains: Float[ndarray, "resamples models"],
    confidence: float,
) -> Fit:
    a, b = fit_curve(shape, distances, gains)
    drawn = np.array(
        [fit_curve(shape, d, g) for d, g in zip(resampled_distances, resampled_gains, strict=True)], dtype=np.float64
    )
    residuals = gains - curve_value(shape, distances, a, b)
    total = float(((gains - gains.mean()) ** 2).sum())
    r_squared = 1 - float((residuals**2).sum()) / total if total > 0 else 0.0
    of_a, of_b = (_interval(value, drawn[:, i], confidence) for i, value in enumerate((a, b)))
    return Fit(FORMULA[shape], of_a, of_b, r_squared, peak_of(shape, a, b), _broken(r_squared, of_b))


def _broken(r_squared: float, b: Interval) -> str | None:
    if r_squared < LEAST_R_SQUARED:
        return f"the curve explains {max(r_squared, 0):.0%} of the points' variance, less than {LEAST_R_SQUARED:.0%}"
    if b.low <= 0 <= b.high:
        return f"b may be 0 ({b.low:.3g} to {b.high:.3g}): no bend within the measured range"
    if b.high < 0:
        return (
            f"b is below 0 ({b.low:.3g} to {b.high:.3g}): the gain grows faster than the distance, and the curve has "
            "no peak"
        )
    return None


def fit_curve(
    shape: Shape, distances: Float[ndarray, " models"], gains: Float[ndarray, " models"]
) -> tuple[float, float]:
    """a and b by least squares: both formulas are linear in them."""
    columns = np.stack([distances, -distances * _bend(shape, distances)], axis=1)
    a, b = np.linalg.lstsq(columns, gains, rcond=None)[0]
    return float(a), float(b)


def curve_value(shape: Shape, distances: Float[ndarray, "*points"], a: float, b: float) -> Float[ndarray, "*points"]:
    return distances * (a - b * _bend(shape, distances))


def peak_of(shape: Shape, a: float, b: float) -> float | None:
    """The distance of the maximum: where the derivative a - b log d - b (or a - 2 b d) is 0."""
    if b <= 0:
        return None
    if shape == "best of n":
        return a / (2 * b) if a > 0 else None
    exponent = a / b - 1
    return math.exp(exponent) if exponent < 700 else None


def _bend(shape: Shape, distances: Float[ndarray, "*points"]) -> Float[ndarray, "*points"]:
    if shape == "best of n":
        return distances
    # d log d goes to 0 with d.
    return np.log(np.maximum(distances, 1e-12))


def _interval(estimate: float, drawn: Float[ndarray, " resamples"], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def lines_of(found: Overoptimisation) -> list[str]:
    """The curves in sentences, the proxy's first."""
    return [f"{curve.measure}, {curve.walk}: {_sentence(curve)}" for curve in found.curves]


def _sentence(curve: GainCurve) -> str:
    best, last = curve.best, curve.points[-1]
    text = f"gains {best.gain.estimate:.2f} ({best.gain.low:.2f} to {best.gain.high:.2f}) at a KL of {best.kl:.2f}"
    if curve.fallen is None:
        text += ", at the last model"
    elif curve.fallen.low > 0:
        loss = f"{curve.fallen.estimate:.2f} ({curve.fallen.low:.2f} to {curve.fallen.high:.2f})"
        text += f", and loses {loss} of it until a KL of {last.kl:.2f}"
    else:
        text += f"; until a KL of {last.kl:.2f} no loss is significant"
    if curve.fit is None:
        return f"{text}. No fit: {curve.missing}"
    if not curve.fit.holds:
        return f"{text}. {curve.fit.formula} does not hold: {curve.fit.broken}"
    fit = curve.fit
    a, b = (f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})" for value in (fit.a, fit.b))
    peak = "" if fit.peak is None else f", highest at a KL of {fit.peak**2:.3g}"
    if fit.peak is not None and fit.peak > last.distance:
        peak = ", highest beyond the measured range"
    return f"{text}. {fit.formula} with a = {a}, b = {b}, R² {fit.r_squared:.2f}{peak}"
