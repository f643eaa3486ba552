"""Importance weights that correct for an engine whose log-probs differ from the trainer's.

The ratio is trainer / sampler, of each token or of the whole answer (the product over its tokens). It is truncated, or
masked: what lies outside the bounds gets weight 0 (IcePop, in arXiv 2510.18855). Weights have no gradient; they
multiply the policy loss.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.maths.policy_loss import probability_ratio, truncated_importance_weight

Tokens = Float[Tensor, " tokens"]


def importance_weights(
    old_log_probs: Tokens, sampler_log_probs: Tokens, *, of_answer: bool, mask: bool, floor: float, cap: float
) -> Tokens:
    """Weights of one answer's tokens: min(ratio, cap), or with `mask` the ratio where it is in [floor, cap], else 0.

    `old_log_probs` are the trainer's, under the weights that sampled.
    """
    if of_answer:
        old_log_probs = old_log_probs.sum().expand(len(old_log_probs))
        sampler_log_probs = sampler_log_probs.sum().expand(len(sampler_log_probs))
    truncated = truncated_importance_weight(old_log_probs, sampler_log_probs, cap=cap)
    if not mask:
        return truncated
    ratio = probability_ratio(old_log_probs, sampler_log_probs).detach()
    return torch.where((ratio >= floor) & (ratio <= cap), truncated, 0)
