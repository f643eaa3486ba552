"""The parts of a detector: a number per iteration, its limit, the answers shown as evidence, and a verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from steersman.watch.baseline import Baseline
from steersman.watch.records import IterationAnswers


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """A detector's input: an iteration's answers, the baseline, and the gains over it.

    `gain` and `held_out_gain` are moving averages, by the scorer and the held-out scorer on the same answers, in
    standard deviations of the reference's answers. They are None if not measured in this iteration. `peak` is the
    highest `held_out_gain` so far.
    """

    current: IterationAnswers
    baseline: Baseline
    gain: float | None
    held_out_gain: float | None
    peak: float | None


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector of reward hacking.

    `measure` returns None if it does not apply: no ensemble, no held-out scorer, no features. The answers with the
    highest `evidence_scores` are shown as evidence.
    """

    name: str
    side: Literal["above", "below"]
    measure: Callable[[DetectorInput], float | None]
    evidence_scores: Callable[[DetectorInput], Sequence[float]]
    verdict: Callable[[DetectorInput, float], str]

    def outside(self, value: float, limit: float) -> bool:
        return value > limit if self.side == "above" else value < limit


def mean(inputs: DetectorInput, of: Callable[[int], float]) -> float:
    return fmean(of(i) for i in range(len(inputs.current.answers)))


def per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
