"""The scores' standard deviation collapses: the scorer is saturated, or the answers have become the same."""

from collections import Counter
from statistics import pstdev

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent


def measure(inputs: DetectorInput) -> float | None:
    before = inputs.baseline.score.deviation
    return pstdev(answer.score for answer in inputs.current.answers) / before if before > 0 else None


def evidence_scores(inputs: DetectorInput) -> list[float]:
    """The answers with the most frequent score."""
    counts = Counter(answer.score for answer in inputs.current.answers)
    return [float(counts[answer.score]) for answer in inputs.current.answers]


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"the scores' standard deviation is {per_cent(value)} of that on the reference's answers: the scorer hardly "
        "distinguishes answers any more, and little is left to learn. Either the task is solved, or all answers have "
        "become the same; read some"
    )


SPREAD = Detector("spread", "below", measure, evidence_scores, verdict)
