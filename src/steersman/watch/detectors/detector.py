"""What every detector is: a number of one iteration, a limit, the answers that speak loudest, and a verdict in plain words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from steersman.watch.baseline import Baseline
from steersman.watch.records import IterationAnswers


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """What a detector looks at: an iteration's answers beside the reference's, and the gains (in deviations of the reference's answers)
    by the scorer and by the held-out one, both of the same answers and smoothed over looks. They are None where nothing was
    measured this time. `peak` is the highest gain by the held-out scorer so far."""

    glance: IterationAnswers
    baseline: Baseline
    gain: float | None
    held_out_gain: float | None
    peak: float | None


@dataclass(frozen=True, slots=True)
class Detector:
    """`measure` is None where there is nothing to measure: no ensemble, no held-out scorer, no features. `speaks` gives each answer its
    number: the answers with the highest are the evidence."""

    name: str
    side: Literal["above", "below"]
    measure: Callable[[DetectorInput], float | None]
    speaks: Callable[[DetectorInput], Sequence[float]]
    verdict: Callable[[DetectorInput, float], str]

    def outside(self, value: float, limit: float) -> bool:
        return value > limit if self.side == "above" else value < limit


def mean(scene: DetectorInput, of: Callable[[int], float]) -> float:
    return fmean(of(i) for i in range(len(scene.glance.answers)))


def per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
