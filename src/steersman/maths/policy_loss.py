"""Element-wise losses of a PPO update. The caller masks, sums and weights them (`masked.sum_and_weight`).

Schulman et al. 2017 (arXiv 1707.06347), equation 7; dual clip: Ye et al. 2020 (arXiv 1912.09729), equation 5; CISPO:
MiniMax-M1 (arXiv 2506.13585), equation 4.
Ratios are new / old. Old log-probs, sampler log-probs, advantages and returns are constants: no gradient.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# exp(20) is 5e8: far beyond any clip range, far below overflow, also when a gradient norm squares it.
_LARGEST_LOG_RATIO = 20.0


class PolicyLoss(NamedTuple):
    """Loss and ratio of each token; `clipped` is True where PPO's clip or the dual clip is active (no gradient)."""

    loss: Float[Tensor, "*shape"]
    ratio: Float[Tensor, "*shape"]
    clipped: Bool[Tensor, "*shape"]


class ValueLoss(NamedTuple):
    """Loss of each value; `clipped` is True where the clip is active."""

    loss: Float[Tensor, "*shape"]
    clipped: Bool[Tensor, "*shape"]


def probability_ratio(
    log_probs: Float[Tensor, "*shape"], old_log_probs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """new / old, clamped to [exp(-20), exp(20)]."""
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
    """PPO's clipped loss: -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A).

    With `dual_clip` c > 1 the loss of a token with A < 0 is at most c * |A|. Otherwise a bad token whose probability
    rose a lot could outweigh the rest of the batch.
    """
    if dual_clip is not None and dual_clip <= 1:
        raise ValueError(
            f"dual_clip is {dual_clip}; at 1 or less it would also clip unchanged tokens. Use about 3, or None."
        )
    advantages = advantages.detach()
    ratio = probability_ratio(log_probs, old_log_probs)
    unclipped_loss = -advantages * ratio
    clipped_loss = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    loss, clipped = torch.maximum(unclipped_loss, clipped_loss), clipped_loss > unclipped_loss
    if dual_clip is not None:
        largest_loss = -advantages * dual_clip
        above = (advantages < 0) & (loss > largest_loss)
        loss, clipped = torch.where(above, largest_loss, loss), clipped | above
    return PolicyLoss(loss, ratio.detach(), clipped)


def clipped_weight_loss(
    log_probs: Float[Tensor, "*shape"],
    old_log_probs: Float[Tensor, "*shape"],
    advantages: Float[Tensor, "*shape"],
    *,
    clip_low: float,
    clip_high: float,
) -> PolicyLoss:
    """CISPO: -clip(ratio, 1 - clip_low, 1 + clip_high) * A * log policy, where the clipped ratio is a constant.

    PPO's clip takes the gradient away from a token whose ratio left the range; here such a token only weighs no more
    than the bound. `clipped` is True where the weight is at a bound.
    """
    ratio = probability_ratio(log_probs, old_log_probs).detach()
    weight = ratio.clamp(1 - clip_low, 1 + clip_high)
    return PolicyLoss(-weight * advantages.detach() * log_probs, ratio, weight != ratio)


def clipped_value_loss(
    values: Float[Tensor, "*shape"],
    old_values: Float[Tensor, "*shape"],
    returns: Float[Tensor, "*shape"],
    *,
    clip: float | None,
) -> ValueLoss:
    """PPO's value loss: 0.5 * max((V - R)^2, (clip(V, old - clip, old + clip) - R)^2).

    With clip None it is 0.5 * (V - R)^2.
    """
    returns = returns.detach()
    unclipped = (values - returns).square()
    if clip is None:
        return ValueLoss(0.5 * unclipped, torch.zeros_like(unclipped, dtype=torch.bool))
    old_values = old_values.detach()
    step = values - old_values
    clipped = (old_values + step.clamp(-clip, clip) - returns).square()
    # Inside the clip range the two differ by rounding alone, which does not count as clipped.
    return ValueLoss(0.5 * torch.maximum(unclipped, clipped), (clipped > unclipped) & (step.abs() > clip))


def entropy_loss(entropies: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """-entropy: minimising it keeps the policy from becoming deterministic."""
    return -entropies


def truncated_importance_weight(
    old_log_probs: Float[Tensor, "*shape"], sampler_log_probs: Float[Tensor, "*shape"], *, cap: float
) -> Float[Tensor, "*shape"]:
    """min(trainer / sampler, cap), without gradient: corrects for an engine whose log-probs differ from the trainer's.

    `old_log_probs` are the trainer's, under the weights that sampled. The weight multiplies the policy loss.
    """
    if cap < 1:
        raise ValueError(
            f"cap is {cap}; below 1 it would shrink tokens on which sampler and trainer agree. Use about 2."
        )
    return probability_ratio(old_log_probs, sampler_log_probs).detach().clamp(max=cap)
