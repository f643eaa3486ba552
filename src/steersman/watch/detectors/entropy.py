"""The policy hardly chooses any more: the entropy of its tokens has collapsed."""

from collections import Counter

from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent


def measure(scene: DetectorInput) -> float | None:
    if not scene.baseline.entropy > 0:
        return None
    return mean(scene, lambda i: scene.glance.answers[i].entropy) / scene.baseline.entropy


def speaks(scene: DetectorInput) -> list[float]:
    """The surest answers, and among them those that come most often."""
    times = Counter(one.text for one in scene.glance.answers)
    return [times[one.text] - one.entropy for one in scene.glance.answers]


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"the policy's entropy is {per_cent(value)} of the reference's: it has settled on few answers and explores no more. Raise "
        "update.entropy_coefficient or kl.coefficient, or lower the learning rate"
    )


ENTROPY = Detector("entropy", "below", measure, speaks, verdict)
