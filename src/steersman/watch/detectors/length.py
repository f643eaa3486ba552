"""Answers become much longer or shorter: length is the most common exploit (Singhal et al. 2023, arXiv 2310.03716)."""

from steersman.watch.detectors.detector import Detector, DetectorInput, mean


def ratio(inputs: DetectorInput) -> float:
    return mean(inputs, lambda i: inputs.current.answers[i].tokens) / inputs.baseline.length


def measure(inputs: DetectorInput) -> float:
    return max(ratio(inputs), 1 / ratio(inputs))


def evidence_scores(inputs: DetectorInput) -> list[float]:
    longer = ratio(inputs) >= 1
    return [float(answer.tokens if longer else -answer.tokens) for answer in inputs.current.answers]


def verdict(inputs: DetectorInput, value: float) -> str:
    longer = ratio(inputs) >= 1
    return (
        f"answers are {value:.1f} times as {'long' if longer else 'short'} as the reference's: the scorer seems to "
        f"reward {'length' if longer else 'brevity'}. Check whether they say more; if not, "
        f"{'penalise length (score.overlong_tokens) or ' if longer else ''}balance the judgements by length"
    )


LENGTH = Detector("length", "above", measure, evidence_scores, verdict)
