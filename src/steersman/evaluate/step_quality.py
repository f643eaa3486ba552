"""Quality of a process reward model on held-out answers whose steps were judged: accuracy over steps, whether the first
wrong step is found (ProcessBench, arXiv 2412.06559), and calibration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.evaluate.classification import BINS, RESAMPLES, area_under_curve
from steersman.evaluate.reward_quality import CONFIDENCE, plain
from steersman.maths.statistics import (
    Interval,
    ReliabilityBin,
    bootstrap_interval,
    expected_calibration_error,
    reliability_curve,
    wilson_interval,
)

MOST_PLACES, FEWEST_ANSWERS = 8, 5
"""Accuracy by the step's number is given for the first steps, where so many answers have one."""


@dataclass(frozen=True, slots=True)
class PlaceQuality:
    group: str
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class StepQuality:
    """Steps are called right from a probability of 0.5.

    The interval of `accuracy` is over answers, since the steps of an answer belong together. `first_error` is the share
    of answers with a wrong step in which the first step called wrong is the first that is wrong; `error_free` is the
    share of the others in which no step is called wrong; `f1` is their harmonic mean. None: there are no such answers.
    """

    answers: int
    steps: int
    wrong: int
    accuracy: Interval
    largest: float
    right_steps: Interval | None
    wrong_steps: Interval | None
    first_error: Interval | None
    error_free: Interval | None
    f1: float | None
    auc: float | None
    loss: float
    calibration_error: float
    curve: tuple[ReliabilityBin, ...]
    by_step: tuple[PlaceQuality, ...]

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def measure_steps(probabilities: Sequence[Sequence[float]], labels: Sequence[Sequence[float]]) -> StepQuality:
    """`probabilities` that each step of each answer is right; `labels` are 1 (right) and 0."""
    if len(labels) < 2:
        raise DataError(f"{len(labels)} held-out answers with judged steps; expected at least 2")
    predicted, true = (np.array([one for answer in by for one in answer]) for by in (probabilities, labels))
    hits = [
        [(chance >= 0.5) == bool(label) for chance, label in zip(*answer, strict=True)]
        for answer in zip(probabilities, labels, strict=True)
    ]
    right, wrong = float(true.sum()), float((1 - true).sum())
    found, spared = _located(probabilities, labels)
    first, free = _share(found), _share(spared)
    # Probabilities of exactly 0 and 1 come from rounding; the loss stays finite.
    safe = np.clip(predicted, 1e-12, 1 - 1e-12)
    return StepQuality(
        answers=len(labels),
        steps=len(true),
        wrong=int(wrong),
        accuracy=bootstrap_interval(
            np.array([[sum(one), len(one)] for one in hits], dtype=np.float64),
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
            generator=np.random.default_rng(0),
            statistic=_accuracy,
        ),
        largest=max(right, wrong) / len(true),
        right_steps=_share([bool(p >= 0.5) for p, y in zip(predicted, true, strict=True) if y]),
        wrong_steps=_share([bool(p < 0.5) for p, y in zip(predicted, true, strict=True) if not y]),
        first_error=first,
        error_free=free,
        f1=None if first is None or free is None else _harmonic(first.estimate, free.estimate),
        auc=area_under_curve(predicted, true) if right and wrong else None,
        loss=float(-(true * np.log(safe) + (1 - true) * np.log1p(-safe)).mean()),
        calibration_error=expected_calibration_error(predicted, true, bins=BINS),
        curve=tuple(reliability_curve(predicted, true, bins=BINS)),
        by_step=tuple(_by_place(hits)),
    )


def _accuracy(rows: Float[ndarray, "answers 2"]) -> float:
    return float(rows[:, 0].sum() / rows[:, 1].sum())


def _located(
    probabilities: Sequence[Sequence[float]], labels: Sequence[Sequence[float]]
) -> tuple[list[bool], list[bool]]:
    """For answers with a wrong step, whether the first one was found; for the others, whether none was called wrong."""
    found, spared = list[bool](), list[bool]()
    for predicted, true in zip(probabilities, labels, strict=True):
        called = next((i for i, one in enumerate(predicted) if one < 0.5), None)
        first = next((i for i, one in enumerate(true) if not one), None)
        (spared if first is None else found).append(called == first)
    return found, spared


def _by_place(hits: Sequence[Sequence[bool]]) -> Iterator[PlaceQuality]:
    for place in range(MOST_PLACES):
        here = [one[place] for one in hits if len(one) > place]
        if len(here) >= FEWEST_ANSWERS:
            yield PlaceQuality(
                f"step {place + 1}", wilson_interval(float(sum(here)), float(len(here)), confidence=CONFIDENCE)
            )


def _share(hits: Sequence[bool]) -> Interval | None:
    return wilson_interval(float(sum(hits)), float(len(hits)), confidence=CONFIDENCE) if hits else None


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0


def lines_of_steps(quality: StepQuality) -> Iterator[str]:
    def shown(value: Interval | None) -> str:
        return "not defined" if value is None else f"{value.estimate:.1%} ({value.low:.1%} to {value.high:.1%})"

    yield (
        f"accuracy {shown(quality.accuracy)} on {quality.steps:,} steps of {quality.answers:,} held-out answers; "
        f"the larger class alone {quality.largest:.1%}"
    )
    right, wrong = shown(quality.right_steps), shown(quality.wrong_steps)
    yield f"  right steps called right {right}, wrong steps called wrong {wrong}"
    found, spared = shown(quality.first_error), shown(quality.error_free)
    f1 = "" if quality.f1 is None else f", F1 {quality.f1:.3f}"
    yield f"  first wrong step found {found}, answers without one left alone {spared}{f1}"
    ranks = "" if quality.auc is None else f"AUC {quality.auc:.3f}, "
    yield f"  {ranks}loss {quality.loss:.3f}, calibration error {quality.calibration_error:.3f}"
