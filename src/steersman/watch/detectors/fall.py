"""The held-out score falls from its peak while the training score does not: over-optimisation is past its peak."""

from steersman.watch.detectors.detector import Detector, DetectorInput
from steersman.watch.detectors.gap import difference


def measure(inputs: DetectorInput) -> float | None:
    if inputs.gain is None or inputs.held_out_gain is None or inputs.peak is None:
        return None
    return inputs.peak - inputs.held_out_gain


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"by the held-out scorer the answers are {value:.2f} standard deviations worse than at their best, while the "
        f"training scorer still rates them {inputs.gain or 0:.1f} above the reference's: the best policy is past. "
        "Restore it (watch.action=restore)"
    )


FALL = Detector("fall", "above", measure, difference, verdict)
