"""Entropy collapse: the policy is nearly deterministic."""

from collections import Counter

from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent


def measure(inputs: DetectorInput) -> float | None:
    if not inputs.baseline.entropy > 0:
        return None
    return mean(inputs, lambda i: inputs.current.answers[i].entropy) / inputs.baseline.entropy


def evidence_scores(inputs: DetectorInput) -> list[float]:
    """The most frequent answers, and among them those with the lowest entropy."""
    counts = Counter(answer.text for answer in inputs.current.answers)
    return [counts[answer.text] - answer.entropy for answer in inputs.current.answers]


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"the policy's entropy is {per_cent(value)} of the reference's: it has settled on few answers and no longer "
        "explores. Raise update.entropy_coefficient or kl.coefficient, or lower the learning rate"
    )


ENTROPY = Detector("entropy", "below", measure, evidence_scores, verdict)
