"""Calibration of a reward model: sigmoid(score gap) against how often people agreed.

Each pair is ordered so that the model's preferred answer is first. Otherwise a file that always has the preferred
answer first would look miscalibrated. Temperature: Guo et al. 2017.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.maths.statistics import ReliabilityBin, expected_calibration_error, fit_temperature, reliability_curve

BINS = 20
"""Bins over 0 … 1; only the upper ten, from 0.5, can be filled."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """Mean negative log-likelihood in nats (ln 2 = 0.693 is chance), expected calibration error, reliability curve."""

    loss: float
    error: float
    curve: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration on all pairs (`whole`), and of temperature scaling.

    The temperature is fitted on one half of the pairs; `before` and `after` are measured on the other half. All three
    are None if a half would be empty.
    """

    whole: Sureness
    temperature: float | None
    before: Sureness | None
    after: Sureness | None
    fitted_on: int
    measured_on: int


def measure_calibration(
    gaps: Float[ndarray, " pairs"], preferences: Float[ndarray, " pairs"], pairs: Sequence[object]
) -> Calibration:
    """`pairs` identifies each row's pair: all rows of a pair are in the same half, whatever other data there is."""
    whole = measure_sureness(gaps, preferences)
    fitting = np.array([hashlib.sha256(repr(pair).encode()).digest()[0] % 2 == 0 for pair in pairs])
    counts = int(fitting.sum()), int((~fitting).sum())
    if not all(counts):
        return Calibration(whole, None, None, None, *counts)
    temperature = fit_temperature(gaps[fitting], preferences[fitting])
    held_out = ~fitting
    before = measure_sureness(gaps[held_out], preferences[held_out])
    after = measure_sureness(gaps[held_out] / temperature, preferences[held_out])
    return Calibration(whole, temperature, before, after, *counts)


def measure_sureness(gaps: Float[ndarray, " pairs"], preferences: Float[ndarray, " pairs"]) -> Sureness:
    agreed = np.where(gaps >= 0, preferences, 1 - preferences)
    margins = np.abs(gaps)
    # -log sigmoid(x) = log(1 + exp(-x)), and -log(1 - sigmoid(x)) = -log sigmoid(x) + x.
    loss = np.logaddexp(0.0, -margins) + (1 - agreed) * margins
    predicted = 1 / (1 + np.exp(-margins))
    curve = tuple(reliability_curve(predicted, agreed, bins=BINS))
    return Sureness(float(loss.mean()), expected_calibration_error(predicted, agreed, bins=BINS), curve)
