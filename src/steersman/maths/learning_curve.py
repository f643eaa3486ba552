"""A learning curve: a figure by the number of labels, and what more labels would bring.

The figure follows limit - slope * labels ** -exponent (Hestness et al. 2017, "Deep learning scaling is predictable,
empirically"). The exponent is one of a few, for four or five sizes do not determine it any better.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

EXPONENTS = (0.25, 0.35, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class PowerCurve:
    limit: float
    slope: float
    exponent: float

    def value(self, labels: float | int) -> float:
        return self.limit - self.slope * labels**-self.exponent

    def gain(self, labels: float | int, more: float | int) -> float:
        """How much the figure rises with so many more labels."""
        return self.value(labels + more) - self.value(labels)

    def needed(self, labels: float | int, gain: float) -> float:
        """How many more labels raise the figure so much; infinite if none do."""
        left = labels**-self.exponent - gain / self.slope if self.slope > 0 else 0.0
        return left ** (-1 / self.exponent) - labels if left > 0 else np.inf


def fit_curve(sizes: Float[ndarray, " points"], values: Float[ndarray, " points"]) -> PowerCurve:
    """The curve with the least squared error. Its slope is negative where the figure falls with more labels."""
    found: tuple[float, PowerCurve] | None = None
    for exponent in EXPONENTS:
        falling = sizes**-exponent
        centred = falling - falling.mean()
        slope = -float((centred * values).sum() / (centred**2).sum())
        curve = PowerCurve(float((values + slope * falling).mean()), slope, exponent)
        error = float(((values - curve.limit + slope * falling) ** 2).sum())
        if found is None or error < found[0]:
            found = error, curve
    assert found is not None
    return found[1]


def resampled_curves(
    sizes: Float[ndarray, " models"],
    values: Float[ndarray, "models labels"],
    prompts: Int[ndarray, " labels"],
    *,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[Float[ndarray, "resamples points"], list[PowerCurve]]:
    """Means at each size and fitted curves, over resamples of the held-out prompts and of the models of each size.

    `values` has a model's figure for each held-out label; `prompts` numbers the labels' prompts from 0.
    """
    points = np.unique(sizes)
    rows = [np.flatnonzero(sizes == size) for size in points]
    count = int(prompts.max()) + 1
    means: list[ndarray] = []
    for _ in range(resamples):
        weights = np.bincount(generator.integers(count, size=count), minlength=count)[prompts]
        by_model = values @ weights / max(1, weights.sum())
        means.append(np.array([by_model[generator.choice(of, size=len(of))].mean() for of in rows]))
    drawn = np.array(means)
    return drawn, [fit_curve(points.astype(np.float64), one) for one in drawn]
