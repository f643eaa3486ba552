"""Where more optimisation stops helping: what the scorer gains and what others say, against the distance from where the model began.

Distance is d = sqrt(KL), and gains are over the starting model, so that every curve begins at (0, 0); they are counted in standard
deviations of the starting model's answers, so that scorers of different scales stand on one axis. Gao, Schulman and Hilton (2022, arXiv
2210.10760) found for what is really wanted

    R_RL(d) = d (a - b log d)        R_bon(d) = d (a - b d)

Both are linear in a and b. Intervals are by bootstrap over prompts; a fit that does not hold says why.
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
"""Two numbers are fitted; fewer points than these leave next to nothing to hold against the curve."""
LEAST_R_SQUARED = 0.8
FORMULA = {"trained": "d (a - b log d)", "best of n": "d (a - b d)"}


@dataclass(frozen=True, slots=True)
class Walk:
    """Models on a way that leads from the start: for each its KL and each scorer's gain, prompt by prompt. `names` are shown."""

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
    """`holds` is None where it does, else why it does not. `peak` is the distance where the curve is highest, if b is above 0."""

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
class Curve:
    """One scorer along one walk. `fallen` is how much of its best gain the last model has lost, paired over prompts, where the best is
    not the last."""

    walk: str
    shape: Shape
    measure: str
    points: tuple[Point, ...]
    fit: Fit | None
    missing: str | None
    """Why there is no fit at all."""
    fallen: Interval | None

    @property
    def best(self) -> Point:
        return max(self.points, key=lambda point: point.gain.estimate)


@dataclass(frozen=True)
class Overoptimisation:
    """Every curve, the first scorer (the proxy, which was optimised) first."""

    start: str
    proxy: str
    curves: Sequence[Curve]
    prompts: int
    confidence: float
    wins: Sequence[tuple[str, float, Interval]] = field(default_factory=tuple[tuple[str, float, Interval], ...])
    """By people: model, distance, share of wins against the start."""

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
    """The curves of every walk and scorer. All walks are of the same prompts."""
    curves: list[Curve] = []
    for walk in walks:
        for measure, gains in walk.gains.items():
            curves.append(_curve(walk, measure, gains, confidence, resamples, seed))
    curves.sort(key=lambda curve: curve.measure != proxy)
    return Overoptimisation(start, proxy, curves, walks[0].kl.shape[1], confidence, tuple(wins))


def _curve(
    walk: Walk, measure: str, gains: Float[ndarray, "models prompts"], confidence: float, resamples: int, seed: int
) -> Curve:
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
        missing = f"{len(points)} points; two numbers are fitted to {FEWEST_POINTS} or more at different distances"
    else:
        fit = _fitted(walk.shape, distances, mean, distance_of(kls), means, confidence)
    best = int(mean.argmax())
    fallen = None
    if best < len(points) - 1 and mean[best] > 0:
        fallen = _interval(float(mean[best] - mean[-1]), means[:, best] - means[:, -1], confidence)
    return Curve(walk.name, walk.shape, measure, points, fit, missing, fallen)


def distance_of(kl: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """sqrt(KL). A KL estimated from few answers may come out below 0: it then means very near."""
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
    left = gains - curve_value(shape, distances, a, b)
    whole = float(((gains - gains.mean()) ** 2).sum())
    r_squared = 1 - float((left**2).sum()) / whole if whole > 0 else 0.0
    of_a, of_b = (_interval(value, drawn[:, i], confidence) for i, value in enumerate((a, b)))
    return Fit(FORMULA[shape], of_a, of_b, r_squared, peak_of(shape, a, b), _broken(r_squared, of_b))


def _broken(r_squared: float, b: Interval) -> str | None:
    if r_squared < LEAST_R_SQUARED:
        return f"the curve explains {max(r_squared, 0):.0%} of the points' variance; {LEAST_R_SQUARED:.0%} or more is a curve"
    if b.low <= 0 <= b.high:
        return f"b may be 0 ({b.low:.3g} to {b.high:.3g}): no bend is seen as far as this went"
    if b.high < 0:
        return f"b is below 0 ({b.low:.3g} to {b.high:.3g}): the gain grows faster than the distance, and the curve has no peak"
    return None


def fit_curve(
    shape: Shape, distances: Float[ndarray, " models"], gains: Float[ndarray, " models"]
) -> tuple[float, float]:
    """a and b by least squares: both formulas are linear in them."""
    columns = np.stack([distances, -distances * _bend(shape, distances)], axis=1)
    found = np.linalg.lstsq(columns, gains, rcond=None)[0]
    return float(found[0]), float(found[1])


def curve_value(shape: Shape, distances: Float[ndarray, "*points"], a: float, b: float) -> Float[ndarray, "*points"]:
    return distances * (a - b * _bend(shape, distances))


def peak_of(shape: Shape, a: float, b: float) -> float | None:
    """The distance of the highest point: where the derivative a - b log d - b (or a - 2 b d) is 0."""
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
    """What the curves say, in words, the proxy's first."""
    return [f"{curve.measure}, {curve.walk}: {_said(curve)}" for curve in found.curves]


def _said(curve: Curve) -> str:
    best, last = curve.best, curve.points[-1]
    words = f"gains {best.gain.estimate:.2f} ({best.gain.low:.2f} to {best.gain.high:.2f}) at a KL of {best.kl:.2f}"
    if curve.fallen is None:
        words += ", at the end of the way"
    elif curve.fallen.low > 0:
        words += f", and loses {curve.fallen.estimate:.2f} ({curve.fallen.low:.2f} to {curve.fallen.high:.2f}) of it until a KL of {last.kl:.2f}"
    else:
        words += f"; until a KL of {last.kl:.2f} no loss is sure"
    if curve.fit is None:
        return f"{words}. No fit: {curve.missing}"
    if not curve.fit.holds:
        return f"{words}. {curve.fit.formula} does not hold: {curve.fit.broken}"
    fit = curve.fit
    a, b = (f"{one.estimate:.2f} ({one.low:.2f} to {one.high:.2f})" for one in (fit.a, fit.b))
    peak = "" if fit.peak is None else f", highest at a KL of {fit.peak**2:.3g}"
    if fit.peak is not None and fit.peak > last.distance:
        peak = ", highest beyond what was measured"
    return f"{words}. {fit.formula} with a = {a}, b = {b}, R² {fit.r_squared:.2f}{peak}"
