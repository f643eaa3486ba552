"""Answers become much longer or shorter: the oldest of shortcuts (Singhal et al. 2023, arXiv 2310.03716)."""

from steersman.watch.detectors.detector import Detector, DetectorInput, mean


def ratio(scene: DetectorInput) -> float:
    return mean(scene, lambda i: scene.glance.answers[i].tokens) / scene.baseline.length


def measure(scene: DetectorInput) -> float:
    return max(ratio(scene), 1 / ratio(scene))


def speaks(scene: DetectorInput) -> list[float]:
    longer = ratio(scene) >= 1
    return [float(one.tokens if longer else -one.tokens) for one in scene.glance.answers]


def verdict(scene: DetectorInput, value: float) -> str:
    longer = ratio(scene) >= 1
    return (
        f"answers are {value:.1f} times as {'long' if longer else 'short'} as the reference's: the scorer seems to pay for "
        f"{'length' if longer else 'brevity'}. Look whether they say more; if not, "
        f"{'charge for length (score.overlong_tokens) or ' if longer else ''}balance the judgements by length"
    )


LENGTH = Detector("length", "above", measure, speaks, verdict)
