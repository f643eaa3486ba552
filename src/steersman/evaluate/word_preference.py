"""A bag of words that predicts which of two answers people prefer: the simplest thing that reads the answers.

log-odds of "the first is preferred" = w · (features of the first − features of the second): logistic regression
without an intercept, that is, Bradley–Terry with a linear score. An answer's features are log(1 + count) of each word
that at least two answers have. What both answers share, such as the prompt, cancels.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from steersman.records import Comparison

WORD = re.compile(r"\w+|[^\w\s]")
MOST_WORDS = 50_000
STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0)
"""The L2 penalties that are tried, each beginning at the weights of the one before. They are added to a sum over
judgements, not to a mean."""
USUAL_STRENGTH = 3.0
FEWEST_TO_CHOOSE = 50
"""Judgements below which the penalty is not chosen, since a fifth of them says too little."""
ITERATIONS = 100
FOLDS = 5


@dataclass(frozen=True)
class WordPreference:
    """A weight for each word; the score of an answer is the sum of weight · log(1 + count)."""

    places: dict[str, int]
    weights: Float[ndarray, " words"]

    def gaps(self, pairs: Sequence[Comparison]) -> Float[ndarray, " pairs"]:
        """The score of each first answer minus that of the second; exactly 0 where no known word differs."""
        return _differences(pairs, self.places) @ self.weights


def fit_words(pairs: Sequence[Comparison]) -> WordPreference:
    """Fitted to judgements."""
    places = _places(pairs)
    return WordPreference(places, _fitted(_differences(pairs, places), _targets(pairs), folds_of(pairs)))


def gaps_from_the_others(pairs: Sequence[Comparison]) -> Float[ndarray, " pairs"]:
    """For each pair the score gap by a bag of words fitted to the judgements of other prompts."""
    differences, targets, folds = _differences(pairs, _places(pairs)), _targets(pairs), folds_of(pairs)
    gaps = np.zeros(len(pairs))
    for fold in range(FOLDS):
        inside, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        # A word that the others do not have gets the weight 0.
        gaps[inside] = differences[inside] @ _fitted(differences[others], targets[others], folds[others])
    return gaps


def folds_of(pairs: Sequence[Comparison]) -> Int[ndarray, " pairs"]:
    """A number from 0 to 4 for each pair; pairs of one prompt have the same."""
    prompts: dict[str, int] = {}
    return np.array([prompts.setdefault(pair.prompt.id, len(prompts)) % FOLDS for pair in pairs], dtype=np.int64)


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _places(pairs: Sequence[Comparison]) -> dict[str, int]:
    """The words that at least two answers have, the commonest first, and where they stand."""
    answers = Counter(word for c in pairs for text in (c.first.text, c.second.text) for word in set(words_of(text)))
    common = [word for word, count in answers.most_common(MOST_WORDS) if count > 1]
    return {word: i for i, word in enumerate(common)}


def _differences(pairs: Sequence[Comparison], places: dict[str, int]) -> Any:
    """A sparse matrix with a row for each pair and a column for each word."""
    sparse: Any = import_module("scipy.sparse")
    values: list[float] = []
    columns: list[int] = []
    starts = [0]
    for c in pairs:
        row: dict[int, float] = {}
        for text, sign in ((c.first.text, 1.0), (c.second.text, -1.0)):
            for word, count in Counter(words_of(text)).items():
                if word in places:
                    row[places[word]] = row.get(places[word], 0.0) + sign * math.log1p(count)
        values.extend(value for value in row.values() if value)
        columns.extend(column for column, value in row.items() if value)
        starts.append(len(values))
    return sparse.csr_matrix((values, columns, starts), shape=(len(pairs), len(places)))


def _targets(pairs: Sequence[Comparison]) -> Float[ndarray, " pairs"]:
    return np.array([pair.preference for pair in pairs], dtype=np.float64)


def _loss(gaps: Float[ndarray, " pairs"], targets: Float[ndarray, " pairs"]) -> float:
    """Summed cross-entropy of the judgements."""
    return float((np.logaddexp(0, gaps) - targets * gaps).sum())


def _fitted(
    differences: Any, targets: Float[ndarray, " pairs"], folds: Int[ndarray, " pairs"]
) -> Float[ndarray, " words"]:
    """The weights, with the penalty that predicts one fold of prompts best from the others."""
    start = np.zeros(differences.shape[1])
    if not differences.shape[0]:
        return start
    strength = USUAL_STRENGTH
    if len(targets) >= FEWEST_TO_CHOOSE:
        tried, kept = np.flatnonzero(folds == folds[0]), np.flatnonzero(folds != folds[0])
        losses: dict[float, float] = {}
        for one in STRENGTHS:
            start = _weights(differences[kept], targets[kept], one, start)
            losses[one] = _loss(differences[tried] @ start, targets[tried])
        strength = min(losses, key=lambda one: losses[one])
    return _weights(differences, targets, strength, start)


def _weights(
    differences: Any, targets: Float[ndarray, " pairs"], strength: float, start: Float[ndarray, " words"]
) -> Float[ndarray, " words"]:
    """The minimum of the summed cross-entropy + strength / 2 · |w|². The problem is convex."""
    optimize: Any = import_module("scipy.optimize")
    transposed = differences.T.tocsr()

    def objective(weights: Float[ndarray, " words"]) -> tuple[float, Float[ndarray, " words"]]:
        gaps = differences @ weights
        slope = transposed @ (1 / (1 + np.exp(-np.clip(gaps, -500, 500))) - targets)
        return _loss(gaps, targets) + strength / 2 * float(weights @ weights), slope + strength * weights

    if not len(start):
        return start
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(found.x, dtype=np.float64)
