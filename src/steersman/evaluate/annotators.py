"""Which annotators can be relied on, from their judgements alone: agreement with the others, and choice by position.

An annotator's agreement is measured with the consensus of all others on the same pairs (Dawid-Skene without this
annotator), each pair weighted by how sure that consensus is. 1 is full agreement, 0 is chance, -1 the opposite.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.maths.dawid_skene import dawid_skene
from steersman.maths.statistics import Interval, pairwise_agreement, wilson_interval
from steersman.records import Comparison, digest_of

MOST_POSITION_BIAS = 0.1
"""People choose the answer shown first somewhat too often; beyond 0.5 by this much is a fault."""
DIFFERENCE = 0.02
"""Standard deviation of the agreement among annotators who are all reliable: people differ."""
CONFIDENCE = 0.96
"""Of the intervals by which an annotator is named: in 200 simulated rounds without a faulty one 3.5 % name somebody."""
FEWEST = 20
"""Judgements of an annotator that others have judged too: with fewer nothing is said of the annotator."""


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """One annotator. `shared` judgements are of pairs that others judged too; `agreement` is with their consensus.

    `accuracy` is the Dawid-Skene probability of choosing the better answer. `gap` is the agreement's distance from the
    others' in standard errors. `shown_first` is the share of choices of the answer shown first. `faults` are sentences.
    """

    annotator: str
    judgements: int
    shared: int
    accuracy: float
    agreement: Interval
    gap: float
    shown_first: Interval
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Annotations:
    """`agreement` is how often two annotators choose the same answer; `soft` the probability, by pair, that the answer
    whose id comes first is the better."""

    annotators: tuple[AnnotatorQuality, ...]
    pairs: int
    agreement: Interval
    soft: dict[tuple[str, str], float]

    @property
    def faulty(self) -> tuple[str, ...]:
        return tuple(one.annotator for one in self.annotators if one.faults)

    def as_dict(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "agreement": self.agreement,
            "annotators": [asdict(one) for one in self.annotators],
        }


@dataclass(frozen=True)
class _Votes:
    """Votes [pair, annotator] of 1, -1 or 0, in the order of the answers' ids, and the choices by position."""

    pairs: tuple[tuple[str, str], ...]
    annotators: tuple[str, ...]
    votes: Float[ndarray, "pairs annotators"]
    judgements: dict[str, int]
    positions: dict[str, list[bool]]


def measure_annotators(judged: Sequence[Comparison], *, confidence: float = CONFIDENCE) -> Annotations:
    """The annotators of these judgements.

    `confidence` is of the intervals, and of a clean round: all annotators being alike, a fault is found in one of them
    in 5 % of all rounds at 0.95.
    """
    found = _votes(judged)
    if not found.annotators:
        raise DataError(
            "no judgement names its annotator; expected the field annotator, as `steersman label` writes it"
        )
    tables = [_agreement(found.votes, k) for k in range(len(found.annotators))]
    everybody = dawid_skene(found.votes)
    critical = _critical(1.0 - (1.0 - confidence) / max(1, len(tables)))
    people = [
        _quality(found, k, float(everybody.accuracy[k]), tables, confidence, critical) for k in range(len(tables))
    ]
    units = [[vote for vote in row if vote] for row in found.votes.tolist()]
    shared = any(len(unit) > 1 for unit in units)
    soft = dict(zip(found.pairs, everybody.probability.tolist(), strict=True))
    agreement = pairwise_agreement(units, confidence=confidence) if shared else _UNKNOWN
    return Annotations(tuple(people), len(found.pairs), agreement, soft)


def pair_id(one: Comparison) -> tuple[str, str]:
    """An id of a judgement's pair of answers, independent of their order."""
    a, b = (digest_of([one.prompt.id, answer.text]) for answer in (one.first, one.second))
    return (a, b) if a <= b else (b, a)


def _votes(judged: Sequence[Comparison]) -> _Votes:
    by_pair: dict[tuple[str, str], dict[str, float]] = {}
    judgements: dict[str, int] = {}
    positions: dict[str, list[bool]] = {}
    for one in judged:
        if not one.annotator:
            continue
        judgements[one.annotator] = judgements.get(one.annotator, 0) + 1
        if one.tied:
            continue
        pair, first = pair_id(one), one.preference > 0.5
        in_order = digest_of([one.prompt.id, one.first.text]) == pair[0]
        # of an item that came twice, the first judgement counts
        by_pair.setdefault(pair, {}).setdefault(one.annotator, 1.0 if first == in_order else -1.0)
        if one.shown:
            positions.setdefault(one.annotator, []).append(first == (one.shown == "first"))
    annotators, pairs = tuple(sorted(judgements)), tuple(sorted(by_pair))
    column = {name: k for k, name in enumerate(annotators)}
    votes = np.zeros((len(pairs), len(annotators)))
    for i, pair in enumerate(pairs):
        for name, vote in by_pair[pair].items():
            votes[i, column[name]] = vote
    return _Votes(pairs, annotators, votes, judgements, positions)


@dataclass(frozen=True, slots=True)
class _Agreement:
    shared: int
    value: float
    error: float

    @property
    def known(self) -> bool:
        return self.shared >= FEWEST and self.error > 0


def _agreement(votes: Float[ndarray, "pairs annotators"], k: int) -> _Agreement:
    """An annotator's agreement with the consensus of the others."""
    others = votes.copy()
    others[:, k] = 0.0
    log_odds = dawid_skene(others).log_odds
    here = (votes[:, k] != 0) & (np.abs(others).sum(axis=1) > 0)
    shared = int(here.sum())
    weights = np.abs(np.tanh(log_odds[here] / 2))
    if not weights.sum():
        return _Agreement(shared, math.nan, math.nan)
    same = votes[here, k] * np.sign(log_odds[here])
    value = float((weights * same).sum() / weights.sum())
    return _Agreement(shared, value, float(np.sqrt((weights**2 * (same - value) ** 2).sum()) / weights.sum()))


def _quality(
    found: _Votes, k: int, accuracy: float, tables: Sequence[_Agreement], confidence: float, critical: float
) -> AnnotatorQuality:
    name, mine = found.annotators[k], tables[k]
    others = [one for j, one in enumerate(tables) if j != k and one.known]
    gap, usual = _gap(mine, others)
    first = found.positions.get(name, [])
    position = wilson_interval(float(sum(first)), float(len(first)), confidence=confidence) if first else _UNKNOWN
    faults: list[str] = []
    if gap < -critical:
        faults.append(
            f"agrees with the others' consensus {mine.value:.2f}, they with one another {usual:.2f} (1 full, 0 chance)"
        )
    if len(first) >= FEWEST:
        error = math.sqrt((0.5 + MOST_POSITION_BIAS) * (0.5 - MOST_POSITION_BIAS) / len(first))
        if abs(position.estimate - 0.5) - MOST_POSITION_BIAS > critical * error:
            side = "first" if position.estimate > 0.5 else "second"
            share = max(position.estimate, 1 - position.estimate)
            faults.append(f"chose the answer shown {side} in {share:.0%} of {len(first)} judgements")
    reach = _critical((1 + confidence) / 2) * mine.error
    agreement = Interval(mine.value, mine.value - reach, mine.value + reach) if mine.known else _UNKNOWN
    return AnnotatorQuality(
        name, found.judgements[name], mine.shared, accuracy, agreement, gap, position, tuple(faults)
    )


def _gap(mine: _Agreement, others: Sequence[_Agreement]) -> tuple[float, float]:
    """The distance of an agreement from the others' mean, in standard errors, and that mean; NaN where not known."""
    if not mine.known or len(others) < 2:
        return math.nan, math.nan
    weights = np.array([one.error**-2 for one in others])
    usual = float((weights * [one.value for one in others]).sum() / weights.sum())
    of_others = float(np.mean([one.error**2 for one in others])) / len(others)
    error = math.sqrt(mine.error**2 + of_others + DIFFERENCE**2)
    return (mine.value - usual) / error, usual


_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def _critical(probability: float) -> float:
    """The quantile of a standard normal distribution."""
    from scipy.stats import norm

    return float(norm.ppf(probability))
