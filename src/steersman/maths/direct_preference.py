"""Preference losses without a reward model: DPO and its variants, on log-probs of whole answers.

With log-ratio r(y) = log policy(y) - log reference(y) of an answer and gap = r(first) - r(second), DPO (Rafailov et al.
2023, arXiv 2305.18290, equation 7) is Bradley-Terry on beta * gap: the policy is its own reward model. Every pair loss
takes `target`, the probability that the first answer is preferred. Ties, soft labels and label smoothing (cDPO,
Mitchell 2023) are then one formula: loss = target * L(gap) + (1 - target) * L(-gap).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Pairs = Float[Tensor, " pair"]
Answers = Float[Tensor, " answers"]


def smoothed(target: Pairs, epsilon: float) -> Pairs:
    """Smoothed targets of cDPO: each label is wrong with probability epsilon."""
    return target * (1 - epsilon) + (1 - target) * epsilon


def _expected_loss(loss_of: Callable[[Pairs], Pairs], gap: Pairs, target: Pairs) -> Pairs:
    """The loss averaged over both labels: the first answer preferred (probability `target`) or the second."""
    return target * loss_of(gap) + (1 - target) * loss_of(-gap)


def dpo_loss(gap: Pairs, target: Pairs, *, beta: float, margin: Pairs) -> Pairs:
    """-log sigmoid(beta * gap - margin). The margin comes from the judgement's grade; it is 0 without one."""
    return _expected_loss(lambda g: -F.logsigmoid(beta * g - margin), gap, target)


def robust_loss(gap: Pairs, target: Pairs, *, beta: float, epsilon: float) -> Pairs:
    """Robust DPO (Chowdhury et al. 2024, arXiv 2403.00409, equation 12).

    Its mean under labels flipped with probability epsilon is the loss on the true labels. epsilon < 0.5.
    """

    def loss_of(g: Pairs) -> Pairs:
        return (-(1 - epsilon) * F.logsigmoid(beta * g) + epsilon * F.logsigmoid(-beta * g)) / (1 - 2 * epsilon)

    return _expected_loss(loss_of, gap, target)


def ipo_loss(gap: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """IPO (Azar et al. 2023, arXiv 2310.12036, equation 17).

    The gap regresses to 1 / (2 beta), so it stays finite for hard labels. The optimum for a soft label is
    (2 target - 1) / (2 beta).
    """
    return _expected_loss(lambda g: (g - 1 / (2 * beta)).square(), gap, target)


def hinge_loss(gap: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """SLiC (Zhao et al. 2023, arXiv 2305.10425): no gradient once beta * gap is above 1."""
    return _expected_loss(lambda g: torch.relu(1 - beta * g), gap, target)


def apo_zero_loss(first: Pairs, second: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """APO-zero (D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 4): 1 - sigmoid(beta r(better)) + sigmoid(beta
    r(worse)). The better answer becomes more likely, the worse one less."""

    def loss_of(better: Pairs, worse: Pairs) -> Pairs:
        return torch.sigmoid(-beta * better) + torch.sigmoid(beta * worse)

    return target * loss_of(first, second) + (1 - target) * loss_of(second, first)


def apo_down_loss(first: Pairs, second: Pairs, target: Pairs, *, beta: float) -> Pairs:
    """APO-down (arXiv 2408.06266, equation 5): sigmoid(beta r(better)) + 1 - sigmoid(beta (r(better) - r(worse))). Both
    answers become less likely, the worse one more so."""

    def loss_of(better: Pairs, worse: Pairs) -> Pairs:
        return torch.sigmoid(beta * better) + torch.sigmoid(beta * (worse - better))

    return target * loss_of(first, second) + (1 - target) * loss_of(second, first)


def simpo_loss(mean_gap: Pairs, target: Pairs, *, beta: float, gamma: float) -> Pairs:
    """SimPO (Meng et al. 2024, arXiv 2405.14734, equation 6): mean log-probs per token, no reference, margin gamma."""
    return _expected_loss(lambda g: -F.logsigmoid(beta * g - gamma), mean_gap, target)


def log_odds(mean_log_prob: Answers) -> Answers:
    """log(p / (1 - p)) with p = exp(mean log-prob per token)."""
    return mean_log_prob - torch.log(-torch.expm1(mean_log_prob))


def odds_ratio_loss(log_odds_gap: Pairs, target: Pairs) -> Pairs:
    """ORPO's preference term (Hong et al. 2024, arXiv 2403.07691, equation 7).

    Its other term is the likelihood of the preferred answer.
    """
    return _expected_loss(lambda g: -F.logsigmoid(g), log_odds_gap, target)


def kto_loss(
    log_ratio: Answers, desirable: Bool[Tensor, " answers"], baseline: Float[Tensor, ""], *, beta: float
) -> Answers:
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306, equation 8), for single answers with a thumb up or down.

    `baseline` is the KL of policy from reference, as a constant: no gradient flows through it.
    """
    lead = beta * (log_ratio - baseline)
    return 1 - torch.sigmoid(torch.where(desirable, lead, -lead))


def desensitised(
    log_probs: Float[Tensor, " targets"],
    position: Float[Tensor, " targets"],
    shared: Float[Tensor, " targets"],
    *,
    alpha: float,
) -> Float[Tensor, " targets"]:
    """Log-probs for LD-DPO (Liu et al. 2024, arXiv 2409.06411, equation 9).

    Tokens past the length of the pair's shorter answer are multiplied by alpha. `position` is each token's index in its
    answer, `shared` the length of the shorter answer.
    """
    return torch.where(position < shared, log_probs, alpha * log_probs)
