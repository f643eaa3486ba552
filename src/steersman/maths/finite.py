"""Whether tensors hold only finite numbers."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

LARGEST_WEIGHT = 1e18
"""A larger weight is finite, but the product of two such overflows float32, and the model's logits are NaN."""


def not_finite(tensors: Iterable[tuple[str, Tensor]], *, bound: float = math.inf) -> list[str]:
    """The names of the tensors that hold NaN, infinity, or a number beyond `bound`."""
    found: list[str] = []
    for name, tensor in tensors:
        # 8-bit floats belong to quantised models; torch has no aminmax for them.
        if tensor.numel() == 0 or not tensor.is_floating_point() or tensor.element_size() < 2:
            continue
        # One pass without a copy, at the speed of memory: a single NaN makes both ends NaN.
        lowest, highest = (float(end) for end in torch.aminmax(tensor.detach()))
        if not (math.isfinite(lowest) and math.isfinite(highest) and max(-lowest, highest) <= bound):
            found.append(name)
    return found
