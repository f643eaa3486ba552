"""Learning-rate schedules: from a step, counted from 0, to the factor on the peak learning rate. Pure numbers.

The first step never has rate 0: warm-up goes 1/w, 2/w, ... 1. Decay reaches the floor at `total_steps`, one step after
the last. Steps past the end stay at the floor.
"""

import math
from typing import Literal

Shape = Literal["constant", "linear", "cosine", "inverse_sqrt"]


def warm_up_steps(total_steps: int, warm_up: int | float) -> int:
    """Number of warm-up steps: an int means steps, a float that share of the run, rounded."""
    whole = isinstance(warm_up, int)
    if warm_up < 0 or (not whole and warm_up >= 1):
        raise ValueError(f"warm_up is {warm_up!r}; give a whole number of steps (10) or a share below 1 (0.03).")
    return warm_up if whole else round(warm_up * total_steps)


def multiplier(shape: Shape, step: int, *, total_steps: int, warm_up: int | float, floor: float) -> float:
    """The factor on the peak learning rate at this step.

    After warm-up: constant 1; linear or cosine from 1 down to `floor`; inverse_sqrt sqrt(w / step), at least `floor`.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"step {step} of {total_steps}: steps count from 0, and a run has at least one.")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}; expected a share of the peak learning rate, from 0 to 1.")
    warm = warm_up_steps(total_steps, warm_up)
    if step < warm:
        return (step + 1) / warm
    progress = min((step - warm) / max(total_steps - warm, 1), 1.0)
    if shape == "constant":
        return 1.0
    if shape == "linear":
        return floor + (1 - floor) * (1 - progress)
    if shape == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    # Vaswani et al. 2017, section 5.3: continuous with the end of warm-up; without warm-up, 1, 1/sqrt 2, 1/sqrt 3...
    return max(floor, math.sqrt(max(warm, 1) / (step + 1)))
