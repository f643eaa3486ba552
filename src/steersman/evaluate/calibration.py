"""Whether a reward model's sureness can be believed: sigmoid(score gap) against how often people agreed.

Each pair is turned so that the model's favourite stands first: a pair and its mirror image say the same thing, and a file
that always puts the preferred answer first would look wrongly calibrated without it. Temperature: Guo et al. 2017.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.maths.statistics import ReliabilityBin, expected_calibration_error, fit_temperature, reliability_curve

BINS = 20
"""Over 0 … 1, of which the upper ten, from 0.5 on, are used."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """`loss` is the mean negative log-likelihood in nats (ln 2 = 0.693 is a coin's); `error` the ECE."""

    loss: float
    error: float
    curve: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`whole` is measured on all pairs. The temperature is fitted on one half of the pairs and `before` and `after` are
    measured on the other; the three are None where a half would be empty."""

    whole: Sureness
    temperature: float | None
    before: Sureness | None
    after: Sureness | None
    fitted_on: int
    measured_on: int


def measure_calibration(
    gaps: Float[ndarray, " pairs"], preferences: Float[ndarray, " pairs"], pairs: Sequence[object]
) -> Calibration:
    """`pairs` names each row's pair: rows of one pair fall into the same half, whichever data they come with."""
    whole = measure_sureness(gaps, preferences)
    fitting = np.array([hashlib.sha256(repr(pair).encode()).digest()[0] % 2 == 0 for pair in pairs])
    counts = int(fitting.sum()), int((~fitting).sum())
    if not all(counts):
        return Calibration(whole, None, None, None, *counts)
    temperature = fit_temperature(gaps[fitting], preferences[fitting])
    there = ~fitting
    before = measure_sureness(gaps[there], preferences[there])
    after = measure_sureness(gaps[there] / temperature, preferences[there])
    return Calibration(whole, temperature, before, after, *counts)


def measure_sureness(gaps: Float[ndarray, " pairs"], preferences: Float[ndarray, " pairs"]) -> Sureness:
    agreed = np.where(gaps >= 0, preferences, 1 - preferences)
    sure = np.abs(gaps)
    # -log sigmoid(x) = log(1 + exp(-x)), and -log(1 - sigmoid(x)) is x more.
    loss = np.logaddexp(0.0, -sure) + (1 - agreed) * sure
    said = 1 / (1 + np.exp(-sure))
    curve = tuple(reliability_curve(said, agreed, bins=BINS))
    return Sureness(float(loss.mean()), expected_calibration_error(said, agreed, bins=BINS), curve)
