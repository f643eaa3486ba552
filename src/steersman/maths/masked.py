"""Sums, means and whitening over the entries that count (mask True), and nothing else.

What stands outside the mask never reaches a result or a gradient, not even a NaN. Means are for looking at and for
whitening; objectives hand out `sum_and_weight` and let the training core divide, because a mean of means is wrong.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Added to the variance before the square root, as in openai/lm-human-preferences `whiten` and the TL;DR reproduction.
VARIANCE_EPSILON = 1e-8


def masked_sum(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum of the values that count."""
    return torch.where(mask, values, 0).sum()


def sum_and_weight(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What an objective hands to the training core: the sum, and how many entries it is the sum of."""
    return masked_sum(values, mask), mask.sum().to(values.dtype)


def masked_mean(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, if_empty: float) -> Float[Tensor, ""]:
    """Mean of the values that count; `if_empty` where none does (its gradient is zero, not NaN)."""
    total, weight = sum_and_weight(values, mask)
    return torch.where(weight > 0, total / weight.clamp(min=1), if_empty)


def masked_variance(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, if_empty: float
) -> Float[Tensor, ""]:
    """Biased variance (divided by n, not n - 1) of the values that count."""
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
    """Whiten with a mean and variance taken elsewhere, e.g. over the global batch; zero outside the mask."""
    mean, variance = mean.to(values.dtype), variance.to(values.dtype)
    whitened = torch.where(mask, values - mean, 0) * torch.rsqrt(variance + VARIANCE_EPSILON)
    if keep_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0)


def whiten(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, keep_mean: bool
) -> Float[Tensor, "*shape"]:
    """Scale the values that count to variance 1, and to mean 0 unless `keep_mean`; zero outside the mask.

    Advantages lose their mean, whitened rewards keep it (openai/lm-human-preferences, utils/core.py).
    """
    mean = masked_mean(values, mask, if_empty=0.0)
    variance = masked_variance(values, mask, if_empty=1.0)
    return whiten_with(values, mask, mean, variance, keep_mean=keep_mean)
