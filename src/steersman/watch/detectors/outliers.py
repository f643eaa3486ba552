"""The reward model's features of the answers are outliers among those of the reference's answers (see `latent`)."""

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent


def measure(inputs: DetectorInput) -> float | None:
    unusual = inputs.current.unusual
    return sum(distance > 1 for distance in unusual) / len(unusual) if unusual else None


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"{per_cent(value)} of the answers are outliers in the reward model's features (5 % would be usual): its "
        "scores are unreliable there. Have some of them judged; until then keep the policy closer to the reference"
    )


OUTLIERS = Detector("outliers", "above", measure, lambda inputs: inputs.current.unusual, verdict)
