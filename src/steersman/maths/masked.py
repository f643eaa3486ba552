"""Masked sums, means and whitening: only entries where the mask is True count.

Values outside the mask never reach a result or a gradient, not even a NaN. Means are for metrics and whitening.
Objectives return `sum_and_weight` and let the training core divide, because a mean of means is wrong.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Added to the variance before the square root, as in openai/lm-human-preferences `whiten` and the TL;DR reproduction.
VARIANCE_EPSILON = 1e-8


def masked_sum(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum of the values inside the mask."""
    return torch.where(mask, values, 0).sum()


def sum_and_weight(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The sum and the number of entries inside the mask, as an objective returns them to the training core."""
    return masked_sum(values, mask), mask.sum().to(values.dtype)


def masked_mean(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, if_empty: float) -> Float[Tensor, ""]:
    """Mean of the values inside the mask; `if_empty` if the mask is all False (the gradient is then zero, not NaN)."""
    total, weight = sum_and_weight(values, mask)
    return torch.where(weight > 0, total / weight.clamp(min=1), if_empty)


def masked_variance(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, if_empty: float
) -> Float[Tensor, ""]:
    """Biased variance (divided by n, not n - 1) of the values inside the mask."""
    centred = torch.where(mask, values - masked_mean(values, mask, if_empty=0.0), 0)
    return masked_mean(centred.square(), mask, if_empty=if_empty)


def whiten_with(
    values: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    mean: Float[Tensor, ""],
    variance: Float[Tensor, ""],
    *,
    keep_mean: bool,
) -> Float[Tensor, "*shape"]:
    """Whiten with a given mean and variance, e.g. those of the global batch; zero outside the mask."""
    mean, variance = mean.to(values.dtype), variance.to(values.dtype)
    whitened = torch.where(mask, values - mean, 0) * torch.rsqrt(variance + VARIANCE_EPSILON)
    if keep_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0)


def whiten(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, keep_mean: bool
) -> Float[Tensor, "*shape"]:
    """Scale the values inside the mask to variance 1, and to mean 0 unless `keep_mean`; zero outside the mask.

    Advantages are whitened to mean 0, whitened rewards keep their mean (openai/lm-human-preferences, utils/core.py).
    """
    mean = masked_mean(values, mask, if_empty=0.0)
    variance = masked_variance(values, mask, if_empty=1.0)
    return whiten_with(values, mask, mean, variance, keep_mean=keep_mean)
