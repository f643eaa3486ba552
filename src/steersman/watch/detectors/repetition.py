"""Answers repeat themselves."""

from steersman.evaluate.wording import self_repetition
from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent


def measure(inputs: DetectorInput) -> float:
    return mean(inputs, lambda i: self_repetition(inputs.current.answers[i].text)) - inputs.baseline.repetition


def verdict(inputs: DetectorInput, value: float) -> str:
    now = value + inputs.baseline.repetition
    return (
        f"{per_cent(now)} of an answer's 4-grams are repeats ({per_cent(inputs.baseline.repetition)} in the "
        "reference's answers): the scorer rewards repetition, or ignores it. Raise kl.coefficient, or have such "
        "answers judged"
    )


REPETITION = Detector(
    "repetition",
    "above",
    measure,
    lambda inputs: [self_repetition(answer.text) for answer in inputs.current.answers],
    verdict,
)
