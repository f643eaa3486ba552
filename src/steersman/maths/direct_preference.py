"""Losses that learn from preferences without a reward model: DPO and its relatives, on log-probabilities of whole answers.

With log-ratio r(y) = log policy(y) - log reference(y) of an answer and gap = r(first) - r(second), DPO (Rafailov et al. 2023,
arXiv 2305.18290, equation 7) is Bradley-Terry on beta * gap: the policy is its own reward model. Every loss of a pair takes
`target`, the probability that the first answer is preferred, so that ties, soft labels and label smoothing (cDPO, Mitchell
2023) are one thing: loss = target * L(gap) + (1 - target) * L(-gap).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Pairs = Float[Tensor, " pair"]
Answers = Float[Tensor, " answers"]


def smoothed(target: Pairs, epsilon: float) -> Pairs:
    """cDPO: each label is wrong with probability epsilon."""
    return target * (1 - epsilon) + (1 - target) * epsilon


def both_ways(loss_of: Callable[[Pairs], Pairs], gap: Pairs, target: Pairs) -> Pairs:
    return target * loss_of(gap) + (1 - target) * loss_of(-gap)


def dpo_loss(gap: Pairs, target: Pairs, *, beta: float, margin: Pairs) -> Pairs:
    """-log sigmoid(beta * gap - margin), the margin being what the judged grade asks for (0 without one)."""
    return both_ways(lambda g: -F.logsigmoid(beta * g - margin), gap, target)


def robust_loss(gap: Pairs, target: Pairs, *, beta: float, epsilon: float) -> Pairs:
    """Chowdhury et al. 2024 (arXiv 2403.00409), equation 12: its mean under labels flipped with probability epsilon is the
    loss on the true labels. epsilon < 0.5."""

    def loss_of(g: Pairs) -> Pairs:
        return (-(1 - epsilon) * F.logsigmoid(beta * g) + epsilon * F.logsigmoid(-beta * g)) / (1 - 2 * epsilon)

    return both_ways(loss_of, gap, target)


def ipo_loss(gap: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """Azar et al. 2023 (arXiv 2310.12036), equation 17: the gap regresses to 1 / (2 beta), so it stays finite for sure labels;
    its fixed point for a soft label is (2 target - 1) / (2 beta)."""
    return both_ways(lambda g: (g - 1 / (2 * beta)).square(), gap, target)


def hinge_loss(gap: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """SLiC (Zhao et al. 2023, arXiv 2305.10425): no further push once beta * gap is past 1."""
    return both_ways(lambda g: torch.relu(1 - beta * g), gap, target)


def simpo_loss(mean_gap: Pairs, target: Pairs, *, beta: float, gamma: float) -> Pairs:
    """Meng et al. 2024 (arXiv 2405.14734), equation 6: mean log-probabilities a token, no reference, a lead of gamma."""
    return both_ways(lambda g: -F.logsigmoid(beta * g - gamma), mean_gap, target)


def log_odds(mean_log_prob: Answers) -> Answers:
    """log(p / (1 - p)) of p = exp(mean log-probability a token)."""
    return mean_log_prob - torch.log(-torch.expm1(mean_log_prob))


def odds_ratio_loss(log_odds_gap: Pairs, target: Pairs) -> Pairs:
    """ORPO's preference part (Hong et al. 2024, arXiv 2403.07691, equation 7); its other part is the likelihood of the better."""
    return both_ways(lambda g: -F.logsigmoid(g), log_odds_gap, target)


def kto_loss(
    log_ratio: Answers, desirable: Bool[Tensor, " answers"], baseline: Float[Tensor, ""], *, beta: float
) -> Answers:
    """Ethayarajh et al. 2024 (arXiv 2402.01306), equation 8, for single answers with a thumb up or down. `baseline` is the KL of
    policy from reference, which no gradient flows through."""
    lead = beta * (log_ratio - baseline)
    return 1 - torch.sigmoid(torch.where(desirable, lead, -lead))


def desensitised(
    log_probs: Float[Tensor, " targets"],
    position: Float[Tensor, " targets"],
    shared: Float[Tensor, " targets"],
    *,
    alpha: float,
) -> Float[Tensor, " targets"]:
    """LD-DPO (Liu et al. 2024, arXiv 2409.06411, equation 9): tokens past the length that both answers share count alpha.
    `position` is each token's place in its answer, `shared` the length of the pair's shorter answer."""
    return torch.where(position < shared, log_probs, alpha * log_probs)
