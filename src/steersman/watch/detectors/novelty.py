"""Answers join words that the reference's answers do not join: the reward model reads what it was never shown."""

from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent
from steersman.watch.phrases import novelty


def measure(scene: DetectorInput) -> float:
    vocabulary = scene.baseline.vocabulary
    return mean(scene, lambda i: novelty(scene.glance.answers[i].text, vocabulary.pairs)) - vocabulary.usual


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"{per_cent(value + scene.baseline.vocabulary.usual)} of the pairs of words were not seen in the reference's answers (in other answers "
        f"of the reference it is {per_cent(scene.baseline.vocabulary.usual)}): the policy speaks another language than the one that was judged. Read some answers; raise "
        "kl.coefficient if they are no better"
    )


NOVELTY = Detector(
    "novelty",
    "above",
    measure,
    lambda scene: [novelty(one.text, scene.baseline.vocabulary.pairs) for one in scene.glance.answers],
    verdict,
)
