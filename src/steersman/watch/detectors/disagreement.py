"""The members of an ensemble disagree more than they did about the reference's answers: the policy is where they have seen little
(Coste et al. 2023, arXiv 2310.02743)."""

from statistics import fmean

from steersman.watch.detectors.detector import Detector, DetectorInput


def measure(scene: DetectorInput) -> float | None:
    apart = [one.parts["std"] for one in scene.glance.answers if "std" in one.parts]
    return fmean(apart) / scene.baseline.disagreement if apart and scene.baseline.disagreement > 0 else None


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"the reward models disagree {value:.1f} times as much as about the reference's answers: the policy writes what they have not seen, and "
        "the mean of guesses is a guess. Choose watch.action=conservative, which pays what they agree on, or collect judgements of answers "
        "like these"
    )


DISAGREEMENT = Detector(
    "disagreement",
    "above",
    measure,
    lambda scene: [one.parts.get("std", 0.0) for one in scene.glance.answers],
    verdict,
)
