"""Reward-model losses for pairs, ties, soft labels, rankings of K answers, and thumbs up or down.

Bradley and Terry 1952: P(first preferred) = sigmoid(first score - second score). A tie is the soft label 0.5, as if
half of the annotators preferred each answer. Margin: Llama 2 (arXiv 2307.09288), equation 2. All K answers to a prompt
are one element of weight 1: InstructGPT (arXiv 2203.02155), equation 1. Centring: Eisenstein et al. 2023 (arXiv
2312.09244).
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def bradley_terry_loss(
    first_scores: Float[Tensor, " pair"],
    second_scores: Float[Tensor, " pair"],
    target: Float[Tensor, " pair"],
    margin: Float[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """Loss of each pair, where `target` in [0, 1] is the probability that the first answer is preferred.

    Hard labels: -log sigmoid(gap - margin), with gap the winner's score minus the loser's. A soft label weights both
    outcomes, each with its own margin: target * -log sigmoid(gap - m) + (1 - target) * -log sigmoid(-gap - m). The
    optimal gap of a tie stays 0 with any margin; that of another soft label grows with the margin. Give ties margin 0.
    """
    gap = first_scores - second_scores
    # logsigmoid, not softplus: torch replaces softplus(x) by x above 20, which loses nine digits in float64.
    return -target * F.logsigmoid(gap - margin) - (1 - target) * F.logsigmoid(-gap - margin)


def pair_loss(
    scores: Float[Tensor, " answers"],
    first_index: Int[Tensor, " pair"],
    second_index: Int[Tensor, " pair"],
    target: Float[Tensor, " pair"],
    margin: Float[Tensor, " pair"],
    weight: Float[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """Weighted loss of each pair over a flat batch of answers, where each answer is scored once for all its pairs."""
    return weight * bradley_terry_loss(scores[first_index], scores[second_index], target, margin)


def centring_penalty(
    first_scores: Float[Tensor, " pair"], second_scores: Float[Tensor, " pair"], *, eta: float
) -> Float[Tensor, " pair"]:
    """eta * (first + second)^2: fixes the additive constant of the scores, which pairs alone leave open."""
    return eta * (first_scores + second_scores).square()


def approval_loss(scores: Float[Tensor, " answers"], approved: Float[Tensor, " answers"]) -> Float[Tensor, " answers"]:
    """Logistic loss of unpaired feedback: 1 is a thumb up, 0 a thumb down, a value between the share of thumbs up."""
    return -approved * F.logsigmoid(scores) - (1 - approved) * F.logsigmoid(-scores)
