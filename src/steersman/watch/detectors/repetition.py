"""Answers say the same words again and again."""

from steersman.evaluate.wording import self_repetition
from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent


def measure(scene: DetectorInput) -> float:
    return mean(scene, lambda i: self_repetition(scene.glance.answers[i].text)) - scene.baseline.repetition


def verdict(scene: DetectorInput, value: float) -> str:
    now = value + scene.baseline.repetition
    return (
        f"{per_cent(now)} of what an answer says it has said before ({per_cent(scene.baseline.repetition)} in the reference's answers): the "
        "scorer pays for repetition, or does not see it. Raise kl.coefficient, or have such answers judged"
    )


REPETITION = Detector(
    "repetition",
    "above",
    measure,
    lambda scene: [self_repetition(one.text) for one in scene.glance.answers],
    verdict,
)
