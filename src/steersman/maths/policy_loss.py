"""The losses of a PPO update, each value for itself: the caller masks, sums and weighs them (`masked.sum_and_weight`).

Schulman et al. 2017 (arXiv 1707.06347), equation 7; dual clip: Ye et al. 2020 (arXiv 1912.09729), equation 5.
Ratios are new / old. What came before the update (old, sampler, advantages, returns) is taken as given: no gradient.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# exp(20) is 5e8: far beyond any clip, far below overflow, also in the square that a gradient norm takes.
_LARGEST_LOG_RATIO = 20.0


class PolicyLoss(NamedTuple):
    """Loss of each token; the ratio it came from; where clipping (of either kind) decided, so that no gradient flows."""

    loss: Float[Tensor, "*shape"]
    ratio: Float[Tensor, "*shape"]
    clipped: Bool[Tensor, "*shape"]


class ValueLoss(NamedTuple):
    """Loss of each value, and where clipping decided."""

    loss: Float[Tensor, "*shape"]
    clipped: Bool[Tensor, "*shape"]


def probability_ratio(
    log_probs: Float[Tensor, "*shape"], old_log_probs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """new / old, held between exp(-20) and exp(20)."""
    return (log_probs - old_log_probs.detach()).clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp()


def clipped_policy_loss(
    log_probs: Float[Tensor, "*shape"],
    old_log_probs: Float[Tensor, "*shape"],
    advantages: Float[Tensor, "*shape"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
) -> PolicyLoss:
    """-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A).

    With `dual_clip` c > 1 the loss of a token with A < 0 is c * |A| at most, so that a token which became far likelier
    although it was bad cannot outweigh the batch.
    """
    if dual_clip is not None and dual_clip <= 1:
        raise ValueError(
            f"dual_clip is {dual_clip}; at 1 or less it would cut the plain gradient. Use about 3, or None."
        )
    advantages = advantages.detach()
    ratio = probability_ratio(log_probs, old_log_probs)
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    loss, clipped = torch.maximum(free, held), held > free
    if dual_clip is not None:
        most = -advantages * dual_clip
        beyond = (advantages < 0) & (loss > most)
        loss, clipped = torch.where(beyond, most, loss), clipped | beyond
    return PolicyLoss(loss, ratio.detach(), clipped)


def clipped_value_loss(
    values: Float[Tensor, "*shape"],
    old_values: Float[Tensor, "*shape"],
    returns: Float[Tensor, "*shape"],
    *,
    clip: float | None,
) -> ValueLoss:
    """0.5 * max((V - R)^2, (clip(V, old - clip, old + clip) - R)^2); the plain half square for clip None."""
    returns = returns.detach()
    free = (values - returns).square()
    if clip is None:
        return ValueLoss(0.5 * free, torch.zeros_like(free, dtype=torch.bool))
    old_values = old_values.detach()
    step = values - old_values
    held = (old_values + step.clamp(-clip, clip) - returns).square()
    # Within the clip the two differ by rounding alone, which is no clipping.
    return ValueLoss(0.5 * torch.maximum(free, held), (held > free) & (step.abs() > clip))


def entropy_loss(entropies: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """-entropy: minimising it keeps the policy undecided."""
    return -entropies


def truncated_importance_weight(
    old_log_probs: Float[Tensor, "*shape"], sampler_log_probs: Float[Tensor, "*shape"], *, cap: float
) -> Float[Tensor, "*shape"]:
    """min(trainer / sampler, cap), without gradient: corrects for a sampler whose probabilities are not the trainer's.

    `old_log_probs` are the trainer's own of the weights that sampled. The weight multiplies the policy loss.
    """
    if cap < 1:
        raise ValueError(
            f"cap is {cap}; below 1 it would shrink tokens on which sampler and trainer agree. Use about 2."
        )
    return probability_ratio(old_log_probs, sampler_log_probs).detach().clamp(max=cap)
