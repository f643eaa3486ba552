"""What a judge's probabilities say about answers: soft labels, averages over both orders, ratings, scores of K answers.

Bai et al. 2022 (arXiv 2212.08073, section 4.1) take the normalised log-probabilities of the two choices as a soft label
and clamp those that follow written reasoning to 40-60 %. Lee et al. 2023 (arXiv 2309.00267) average over both orders
(section 2.1) and rate by the expected value of the grades, scaled to [-1, 1] (section 2.2). Plain floats in and out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from steersman.maths.statistics import bradley_terry_ratings

CLAMPED = (0.4, 0.6)
"""Bounds of a preference that follows written reasoning, which makes the choice nearly certain (Bai et al., 4.1)."""

Pool = Literal["log_odds", "probability"]
SUREST = 0.99
"""The most certain that one principle counts as in `ensemble`."""


def normalised(log_probs: Sequence[float]) -> list[float]:
    """The probabilities of choices given that one of them is made. Raises if none has any probability."""
    highest = max(log_probs, default=-math.inf)
    if not math.isfinite(highest):
        raise ValueError(f"the log-probs {list(log_probs)} leave no choice possible; expected one that is finite")
    weights = [math.exp(value - highest) for value in log_probs]
    total = sum(weights)
    return [weight / total for weight in weights]


def exclusive_log_probs(sequences: Sequence[Sequence[int]], log_probs: Sequence[float]) -> list[float]:
    """Log-probs of choices whose token sequences may begin one another, such as "1" and "10" as two tokens.

    The log-prob of a sequence that begins others counts those too, so their probabilities are taken off.
    """
    found: list[float] = []
    for i, sequence in enumerate(sequences):
        longer = [
            log_probs[j]
            for j, other in enumerate(sequences)
            if len(other) > len(sequence) and list(other[: len(sequence)]) == list(sequence)
        ]
        # exp(x) - sum(exp(y)) = exp(x) * (1 - sum(exp(y - x))), which does not underflow
        left = 1.0 - sum(math.exp(value - log_probs[i]) for value in longer) if math.isfinite(log_probs[i]) else 0.0
        found.append(log_probs[i] + math.log(left) if left > 0 else -math.inf)
    return found


def over_both_orders(first_shown_first: float, first_shown_second: float) -> float:
    """The preference for the first answer from two readings of the same pair, one in each order.

    Both are the probability that *the answer shown first* is the better. Swapping the answers swaps the readings, and
    gives exactly 1 - p.
    """
    return _beside_half((first_shown_first - first_shown_second) / 2)


def _beside_half(shift: float) -> float:
    """0.5 + shift, rounded so that the opposite shift gives exactly one minus it: 1 - x is exact from 0.5 on."""
    above = min(1.0, 0.5 + abs(shift))
    return above if shift >= 0 else 1.0 - above


def clamped(preference: float, low: float = CLAMPED[0], high: float = CLAMPED[1]) -> float:
    return min(max(preference, low), high)


def ensemble(preferences: Sequence[float], weights: Sequence[float], *, pool: Pool = "log_odds") -> float:
    """The preference of several principles, weighted: their mean in log-odds, or in probabilities.

    In log-odds, principles that are undecided hardly count (a logarithmic opinion pool, Genest and Zidek 1986). No
    principle counts as more certain than SUREST, or one would outweigh all others.
    """
    if len(preferences) != len(weights) or not preferences or any(w < 0 for w in weights) or not sum(weights) > 0:
        raise ValueError(f"{len(preferences)} preferences with the weights {list(weights)}; expected one weight each")
    if len(preferences) == 1:
        return preferences[0]
    each = [_log_odds(p) if pool == "log_odds" else p - 0.5 for p in preferences]
    shift = math.fsum(weight * value for value, weight in zip(each, weights, strict=True)) / math.fsum(weights)
    return _beside_half(math.copysign(1 / (1 + math.exp(-abs(shift))) - 0.5, shift) if pool == "log_odds" else shift)


def _log_odds(p: float) -> float:
    """Log-odds of a probability, exactly the opposite for 1 - p."""
    shift = min(abs(p - 0.5), SUREST - 0.5)
    return math.copysign(math.log((0.5 + shift) / (0.5 - shift)), p - 0.5)


def expected_grade(probabilities: Sequence[float]) -> float:
    """The mean grade, from 1 to the number of grades: the sum of i * P(i)."""
    return math.fsum((i + 1) * p for i, p in enumerate(probabilities))


def scaled_grade(grade: float, grades: int) -> float:
    """A grade from 1 to `grades` on the scale from -1 to 1."""
    return 2.0 * (grade - 1.0) / (grades - 1.0) - 1.0


def better_grade(first: Sequence[float], second: Sequence[float]) -> float:
    """The probability that the first of two answers has the higher grade; equal grades count half.

    Each answer's grade is drawn from its own distribution. With the grades no and yes this is one half plus half the
    difference of the two probabilities of yes.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} grades; expected the same number")
    above = math.fsum(p * q for i, p in enumerate(first) for q in second[:i])
    below = math.fsum(p * q for i, p in enumerate(second) for q in first[:i])
    return _beside_half((above - below) / 2)


def win_rates(preferences: Mapping[tuple[int, int], float], answers: int) -> list[float]:
    """Each answer's mean preference over the answers that it was compared with; 0.5 for one without a comparison.

    `preferences[i, j]` is the probability that answer i is better than answer j; each pair is there once.
    """
    won: list[list[float]] = [[] for _ in range(answers)]
    for (i, j), preference in preferences.items():
        won[i].append(preference)
        won[j].append(1.0 - preference)
    return [math.fsum(values) / len(values) if values else 0.5 for values in won]


def strengths(preferences: Mapping[tuple[int, int], float], answers: int, *, prior: float = 0.1) -> list[float]:
    """Bradley-Terry log-strengths with mean 0, for K answers of which not every pair was compared."""
    wins = np.zeros((answers, answers))
    for (i, j), preference in preferences.items():
        wins[i, j] += preference
        wins[j, i] += 1.0 - preference
    return [float(value) for value in bradley_terry_ratings(wins, prior=prior)]


def knockout(entrants: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of one round of a knockout, neighbours of the seeding; an odd last one goes on unplayed."""
    return [(entrants[i], entrants[i + 1]) for i in range(0, len(entrants) - 1, 2)]
