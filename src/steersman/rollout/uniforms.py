"""Random numbers as a pure function of (seed, position): a sample gets the same ones in any batch.

A counter goes through the finaliser of SplitMix64 (Steele, Lea, Flood 2014) twice, so that neighbouring seeds give
unrelated streams. It is plain 64-bit integer arithmetic, so no library version can change the numbers.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seeds: list[int], count: int) -> Float[Tensor, "seed count"]:
    """`count` numbers in [0, 1) for each seed; entry t does not depend on `count`."""
    with np.errstate(over="ignore"):
        start = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=np.uint64) + _GOLDEN)
        counter = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(start[:, None] + counter[None, :])
    # 24 bits are what a float32 below 1 holds; the largest is 1 - 2**-24.
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
