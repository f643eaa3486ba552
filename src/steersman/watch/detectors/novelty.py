"""Word pairs that do not occur in the reference's answers: the text is outside the reward model's training data."""

from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent
from steersman.watch.phrases import novelty


def measure(inputs: DetectorInput) -> float:
    vocabulary = inputs.baseline.vocabulary
    return mean(inputs, lambda i: novelty(inputs.current.answers[i].text, vocabulary.pairs)) - vocabulary.usual


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"{per_cent(value + inputs.baseline.vocabulary.usual)} of the word pairs do not occur in the reference's "
        f"answers (in other answers of the reference it is {per_cent(inputs.baseline.vocabulary.usual)}): the answers "
        "differ from those that were judged. Read some of them; raise kl.coefficient if they are no better"
    )


NOVELTY = Detector(
    "novelty",
    "above",
    measure,
    lambda inputs: [novelty(answer.text, inputs.baseline.vocabulary.pairs) for answer in inputs.current.answers],
    verdict,
)
