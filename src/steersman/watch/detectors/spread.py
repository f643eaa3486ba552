"""The scorer no longer tells answers apart: its scores are saturated (all at the top) or collapsed."""

from collections import Counter
from statistics import pstdev

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent


def measure(scene: DetectorInput) -> float | None:
    before = scene.baseline.score.deviation
    return pstdev(one.score for one in scene.glance.answers) / before if before > 0 else None


def speaks(scene: DetectorInput) -> list[float]:
    """The answers with the commonest score."""
    times = Counter(one.score for one in scene.glance.answers)
    return [float(times[one.score]) for one in scene.glance.answers]


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"scores differ by {per_cent(value)} of what they differed among the reference's answers: the scorer hardly tells answers apart any more, "
        "and there is little left to learn. Either the task is solved, or all answers have become one; read some"
    )


SPREAD = Detector("spread", "below", measure, speaks, verdict)
