"""Answers are made of word sequences that the reference's answers do not have: the reward model reads what it was never shown."""

from steersman.watch.detectors.detector import Detector, Scene, mean, per_cent
from steersman.watch.phrases import novelty


def measure(scene: Scene) -> float:
    known = scene.baseline.phrases
    return mean(scene, lambda i: novelty(scene.glance.answers[i].text, known)) - scene.baseline.novelty


def verdict(scene: Scene, value: float) -> str:
    return (
        f"{per_cent(value + scene.baseline.novelty)} of the phrases are in none of the reference's answers (among those, it is "
        f"{per_cent(scene.baseline.novelty)}): the policy speaks another language than the one that was judged. Read some answers; raise "
        "kl.coefficient if they are no better"
    )


NOVELTY = Detector(
    "novelty",
    "above",
    measure,
    lambda scene: [novelty(one.text, scene.baseline.phrases) for one in scene.glance.answers],
    verdict,
)
