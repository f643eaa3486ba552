"""Quality of a two-class classifier on held-out texts: accuracy against the majority class, F1, AUC, calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.evaluate.reward_quality import CONFIDENCE, plain
from steersman.maths.statistics import (
    Interval,
    ReliabilityBin,
    bootstrap_interval,
    expected_calibration_error,
    reliability_curve,
    wilson_interval,
)

BINS = 10
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class ClassifierQuality:
    """`largest` is the majority class's accuracy. `precision`, `recall` and `f1` are of the second (positive) class.

    `precision` is None without positive predictions, `recall` and `auc` if a class does not occur.
    """

    texts: int
    positive: int
    accuracy: Interval
    largest: float
    precision: Interval | None
    recall: Interval | None
    f1: Interval
    auc: float | None
    loss: float
    calibration_error: float
    curve: tuple[ReliabilityBin, ...]

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def measure_classifier(probabilities: Sequence[float], labels: Sequence[int]) -> ClassifierQuality:
    """`probabilities` are of the second class, predicted from 0.5; `labels` are 0 and 1."""
    predicted, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if len(predicted) < 2 or len(predicted) != len(true):
        raise DataError(f"{len(predicted)} predictions for {len(true)} held-out texts; expected at least 2 of both")
    called = (predicted >= 0.5).astype(np.float64)
    hits, positive = float((called * true).sum()), int(true.sum())
    both = 0 < positive < len(true)
    # Probabilities of exactly 0 and 1 come from rounding; the loss stays finite.
    safe = np.clip(predicted, 1e-12, 1 - 1e-12)
    return ClassifierQuality(
        texts=len(true),
        positive=positive,
        accuracy=wilson_interval(float((called == true).sum()), float(len(true)), confidence=CONFIDENCE),
        largest=max(positive, len(true) - positive) / len(true),
        precision=wilson_interval(hits, float(called.sum()), confidence=CONFIDENCE) if called.any() else None,
        recall=wilson_interval(hits, float(positive), confidence=CONFIDENCE) if positive else None,
        f1=bootstrap_interval(
            np.stack([called, true], axis=1),
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
            generator=np.random.default_rng(0),
            statistic=f1_score,
        ),
        auc=area_under_curve(predicted, true) if both else None,
        loss=float(-(true * np.log(safe) + (1 - true) * np.log1p(-safe)).mean()),
        calibration_error=expected_calibration_error(predicted, true, bins=BINS),
        curve=tuple(reliability_curve(predicted, true, bins=BINS)),
    )


def f1_score(rows: Float[ndarray, "texts 2"]) -> float:
    """F1 of (predicted, true) pairs; 0 if there are neither predicted nor true positives."""
    hits = float((rows[:, 0] * rows[:, 1]).sum())
    return 2 * hits / max(float(rows.sum()), 1.0)


def area_under_curve(probabilities: Float[ndarray, " texts"], labels: Float[ndarray, " texts"]) -> float:
    """AUC: how often a text of the second class has a higher probability than one of the first; ties count half."""
    stats: Any = import_module("scipy.stats")
    ranks, positive = stats.rankdata(probabilities), labels == 1
    several = float(positive.sum())
    return float((ranks[positive].sum() - several * (several + 1) / 2) / (several * (len(labels) - several)))


def lines_of_classifier(quality: ClassifierQuality, name: str) -> Iterator[str]:
    def shown(value: Interval | None) -> str:
        return "not defined" if value is None else f"{value.estimate:.1%} ({value.low:.1%} to {value.high:.1%})"

    yield (
        f"accuracy {shown(quality.accuracy)} on {quality.texts:,} held-out texts; "
        f"the larger class alone {quality.largest:.1%}"
    )
    yield f"  {name!r} ({quality.positive:,} texts): F1 {shown(quality.f1)}"
    yield f"  precision {shown(quality.precision)}, recall {shown(quality.recall)}"
    ranks = "" if quality.auc is None else f"AUC {quality.auc:.3f}, "
    yield f"  {ranks}loss {quality.loss:.3f}, calibration error {quality.calibration_error:.3f}"
