"""The training score grows faster than that of a held-out scorer: the policy exploits the training scorer.

Gao et al. 2022 (arXiv 2210.10760).
"""

from steersman.watch.detectors.detector import Detector, DetectorInput


def measure(inputs: DetectorInput) -> float | None:
    if inputs.gain is None or inputs.held_out_gain is None:
        return None
    return inputs.gain - inputs.held_out_gain


def difference(inputs: DetectorInput) -> list[float]:
    """Each answer's gain by the scorer minus that by the held-out scorer; -inf where the latter has no score."""
    held_out = inputs.baseline.held_out
    answers, others = inputs.current.answers, inputs.current.held_out
    return [
        inputs.baseline.score.gain(answer.score) - held_out.gain(others[i])
        if held_out is not None and i in others
        else -float("inf")
        for i, answer in enumerate(answers)
    ]


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"the training scorer rates the answers {inputs.gain or 0:.1f} standard deviations above the reference's, the "
        f"held-out scorer {inputs.held_out_gain or 0:.1f}: the policy increasingly exploits the training scorer. Trust "
        "the held-out one: stop near its peak, raise kl.coefficient, or train the reward model on judgements of "
        "answers like these"
    )


GAP = Detector("gap", "above", measure, difference, verdict)
