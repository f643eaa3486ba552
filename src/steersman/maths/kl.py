"""KL of policy from reference: estimators, exact forms, and controllers of the KL coefficient.

KL means KL(policy || reference), in nats. Estimators: Schulman, "Approximating KL divergence" (2020). As a penalty
inside the reward k1 is the right one: k3 used as a loss has another optimum.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def k1(log_probs: Float[Tensor, "*shape"], reference_log_probs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(policy / reference): unbiased, high variance, may be negative."""
    return log_probs - reference_log_probs


def k2(log_probs: Float[Tensor, "*shape"], reference_log_probs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half the squared log-ratio: biased, low variance; on-policy its gradient is that of the KL."""
    return 0.5 * (log_probs - reference_log_probs).square()


def k3(log_probs: Float[Tensor, "*shape"], reference_log_probs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ratio - 1 - log ratio with ratio = reference / policy: unbiased, never negative, low variance."""
    log_ratio = reference_log_probs - log_probs
    return torch.expm1(log_ratio) - log_ratio


def full_kl(
    logits: Float[Tensor, "*shape vocab"], reference_logits: Float[Tensor, "*shape vocab"]
) -> Float[Tensor, "*shape"]:
    """The exact KL of each position, over the whole vocabulary."""
    return _kl_of_log_probs(torch.log_softmax(logits, dim=-1), torch.log_softmax(reference_logits, dim=-1))


def top_k_kl(
    logits: Float[Tensor, "*shape vocab"], reference_logits: Float[Tensor, "*shape vocab"], k: int
) -> Float[Tensor, "*shape"]:
    """KL over the reference's k likeliest tokens, with all other tokens merged into one bin.

    Never more than `full_kl` (merging outcomes loses information), and equal to it once k reaches the vocabulary.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1 token outside the merged bin. Use a k of 1 or more.")
    if k >= logits.shape[-1]:
        return full_kl(logits, reference_logits)
    kept = reference_logits.topk(k, dim=-1).indices
    return _kl_of_log_probs(_binned_log_probs(logits, kept), _binned_log_probs(reference_logits, kept))


def _binned_log_probs(logits: Tensor, kept: Tensor) -> Tensor:
    """Log-probabilities of the kept tokens, and last that of all others together."""
    log_probs = torch.log_softmax(logits, dim=-1)
    others = log_probs.scatter(-1, kept, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([log_probs.gather(-1, kept), others], dim=-1)


def _kl_of_log_probs(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    # A token of policy probability 0 adds nothing, whatever its reference probability: 0 log 0 = 0.
    probs = log_probs.exp()
    return torch.where(probs > 0, probs * (log_probs - reference_log_probs), 0).sum(dim=-1)


def adaptive_coefficient(coefficient: float, measured: float, *, target: float, horizon: float, episodes: int) -> float:
    """The next KL coefficient, by proportional control in log space.

    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2:
    error = clip(measured / target - 1, -0.2, 0.2); coefficient *= 1 + error * episodes / horizon.
    """
    _require_control(coefficient, target)
    error = min(max(measured / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)


def target_seeking_coefficient(
    coefficient: float, measured: float, *, target: float, rate: float, limit: float
) -> float:
    """The next KL coefficient: coefficient * (measured / target)^rate, with the ratio clipped to [1 / limit, limit].

    Far from the target it is faster than the adaptive rule, which changes by 0.2 * episodes / horizon at most.
    """
    _require_control(coefficient, target)
    if limit <= 1:
        raise ValueError(f"limit is {limit}; the coefficient can move only if it is above 1. Try 2.")
    return coefficient * min(max(measured / target, 1 / limit), limit) ** rate


def _require_control(coefficient: float, target: float) -> None:
    if coefficient <= 0 or target <= 0:
        raise ValueError(
            f"the KL coefficient is {coefficient} and its target {target}; the update multiplies the first and divides "
            "by the second, so both must be above 0. For no penalty, use a fixed coefficient of 0."
        )
