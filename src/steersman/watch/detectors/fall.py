"""The held-out scorer's praise falls from its best while the scorer's does not: the top of over-optimisation has been passed."""

from steersman.watch.detectors.detector import Detector, DetectorInput
from steersman.watch.detectors.gap import difference


def measure(scene: DetectorInput) -> float | None:
    if scene.gain is None or scene.held_out_gain is None or scene.peak is None:
        return None
    return scene.peak - scene.held_out_gain


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"by the held-out scorer the answers have become {value:.2f} deviations worse since their best, while the scorer still finds them "
        f"{scene.gain or 0:.1f} better than the reference's: the best policy is behind us. Go back to it (watch.action=restore)"
    )


FALL = Detector("fall", "above", measure, difference, verdict)
