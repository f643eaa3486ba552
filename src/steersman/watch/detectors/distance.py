"""The KL budget: the largest KL of policy from reference, in nats per answer."""

from statistics import fmean

from steersman.watch.detectors.detector import Detector, DetectorInput


def verdict(inputs: DetectorInput, value: float) -> str:
    return (
        f"the KL from the reference is {value:.1f} nats per answer, above its budget: the reward model's scores are "
        "unreliable here. Raise kl.coefficient or lower the learning rate; a larger budget (watch.limits.kl) needs a "
        "reward model trained on such answers"
    )


KL = Detector(
    "kl",
    "above",
    lambda inputs: fmean(answer.kl for answer in inputs.current.answers),
    lambda inputs: [answer.kl for answer in inputs.current.answers],
    verdict,
)
