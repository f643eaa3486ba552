"""A detector: answers shout. Its value is the mean number of exclamation marks in an answer."""

from steersman.watch.detectors.detector import Detector, DetectorInput, mean


def measure(inputs: DetectorInput) -> float:
    return mean(inputs, lambda i: inputs.current.answers[i].text.count("!"))


def evidence(inputs: DetectorInput) -> list[float]:
    return [answer.text.count("!") for answer in inputs.current.answers]


def verdict(inputs: DetectorInput, value: float) -> str:
    return f"an answer has {value:.1f} exclamation marks on average: the scorer rewards shouting. Have such answers judged"


EXCLAMATIONS = Detector("exclamations", "above", measure, evidence, verdict)
