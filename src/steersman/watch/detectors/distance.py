"""The KL budget: how far the policy may go from the reference, in nats an answer."""

from statistics import fmean

from steersman.watch.detectors.detector import Detector, DetectorInput


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"the policy is {value:.1f} nats an answer from the reference, past its budget: scores out here are the reward model's guesses. Raise "
        "kl.coefficient or lower the learning rate; a larger budget (watch.limits.kl) needs a reward model that was trained out here"
    )


KL = Detector(
    "kl",
    "above",
    lambda scene: fmean(one.kl for one in scene.glance.answers),
    lambda scene: [one.kl for one in scene.glance.answers],
    verdict,
)
