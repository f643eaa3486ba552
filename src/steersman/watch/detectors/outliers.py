"""The reward model's own features of the answers are unlike those of the reference's answers (see `latent`)."""

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent


def measure(scene: DetectorInput) -> float | None:
    unusual = scene.glance.unusual
    return sum(one > 1 for one in unusual) / len(unusual) if unusual else None


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"{per_cent(value)} of the answers look to the reward model unlike nearly all of the reference's (5 % would be usual): its scores are "
        "guesses there. Have some of them judged; until then stay closer to the reference"
    )


OUTLIERS = Detector("outliers", "above", measure, lambda scene: scene.glance.unusual, verdict)
