"""Ensemble disagreement above that on the reference's answers: the policy is outside the members' training data.

Coste et al. 2023 (arXiv 2310.02743).
"""

from statistics import fmean

from steersman.watch.detectors.detector import Detector, DetectorInput


def measure(inputs: DetectorInput) -> float | None:
    deviations = [answer.parts["std"] for answer in inputs.current.answers if "std" in answer.parts]
    return fmean(deviations) / inputs.baseline.disagreement if deviations and inputs.baseline.disagreement > 0 else None


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"the reward models disagree {value:.1f} times as much as on the reference's answers: the policy is outside "
        "their training data, so their mean is unreliable. Set watch.action=conservative, which rewards what they "
        "agree on, or collect judgements of answers like these"
    )


DISAGREEMENT = Detector(
    "disagreement",
    "above",
    measure,
    lambda inputs: [answer.parts.get("std", 0.0) for answer in inputs.current.answers],
    verdict,
)
