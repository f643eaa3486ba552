"""What single labels and groups of labels do to a reward model, by influence functions on its last layer.

Koh and Liang 2017, "Understanding black-box predictions via influence functions", with the trunk held fixed: the score
is a linear head on features, and a label is a logistic loss on the difference of two scores. Leaving labels out moves
the head by one Newton step from where training has ended.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from steersman.maths.statistics import FloatArray


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs with labels. `features` and `margins` are the first answer's less the second's; `targets` the probability
    that the first is better; `weights` those of the loss."""

    features: Float[ndarray, "pairs hidden"]
    margins: Float[ndarray, " pairs"]
    targets: Float[ndarray, " pairs"]
    weights: Float[ndarray, " pairs"]

    def __len__(self) -> int:
        return len(self.margins)

    @property
    def probabilities(self) -> Float[ndarray, " pairs"]:
        """By the model, that the first answer is better."""
        return 1.0 / (1.0 + np.exp(-np.clip(self.margins, -60, 60)))


class HeadInfluence:
    """Influence of the labels that a head has learned from.

    `damping` is added to the curvature in every direction, as a multiple of its mean: features that the labels say
    nothing about would otherwise move without limit.
    """

    def __init__(self, learned: LabelledPairs, *, damping: float) -> None:
        probability = learned.probabilities
        features: FloatArray = np.asarray(learned.features, dtype=np.float64)
        self.features = features
        self.curvatures: FloatArray = learned.weights * probability * (1 - probability)
        self.gradients: FloatArray = (learned.weights * (probability - learned.targets))[:, None] * features
        whole: FloatArray = features.T @ (self.curvatures[:, None] * features)
        hidden = features.shape[1]
        self.curvature: FloatArray = whole + max(damping * float(np.trace(whole)) / hidden, 1e-12) * np.eye(hidden)

    def without(self, left_out: Bool[ndarray, " pairs"]) -> Float[ndarray, " hidden"]:
        """How far the head moves if these labels are left out."""
        features = self.features[left_out]
        rest: FloatArray = self.curvature - features.T @ (self.curvatures[left_out][:, None] * features)
        return np.linalg.solve(rest, np.asarray(self.gradients[left_out].sum(axis=0), dtype=np.float64))

    def of_each(self, direction: Float[ndarray, " hidden"]) -> Float[ndarray, " pairs"]:
        """For each label, how far the head moves in a direction, such as a gradient, if that label is left out."""
        return self.gradients @ np.linalg.solve(self.curvature, np.asarray(direction, dtype=np.float64))


def pair_losses(margins: Float[ndarray, " pairs"], targets: Float[ndarray, " pairs"]) -> Float[ndarray, " pairs"]:
    """The Bradley-Terry loss of each pair in nats."""
    return np.logaddexp(0.0, margins) - targets * margins


def loss_gradient(pairs: LabelledPairs) -> Float[ndarray, " hidden"]:
    """The gradient of the pairs' mean loss by the head."""
    return ((pairs.probabilities - pairs.targets)[:, None] * pairs.features).mean(axis=0)
