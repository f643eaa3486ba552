"""Dawid and Skene's model of annotators: how often each gives which label for which true class, and soft labels.

Dawid and Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm", with a Dirichlet
prior on the rows of each annotator's confusion matrix (MAP-EM), so that few labels of an annotator say little. Items of
known class (gold, decided) keep it. `dawid_skene` is the model with one number for each annotator and two classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

PRIOR = 16.0
"""Labels that each annotator is taken to have given before, for each true class."""
RIGHT = 0.75
"""The share of right ones among them: people agree with one another in about 75 % of comparisons."""
STEPS, TOLERANCE = 200, 1e-7


@dataclass(frozen=True)
class Confusion:
    """`probability` of each item's true class; `matrix[annotator, true, given]`; the share of each true class.

    `right` is the probability that an annotator's label is the true class, and `weight` how many labels it rests on,
    with those of the prior.
    """

    probability: Float[ndarray, "items classes"]
    matrix: Float[ndarray, "annotators classes classes"]
    share: Float[ndarray, " classes"]
    right: Float[ndarray, " annotators"]
    weight: Float[ndarray, " annotators"]


@dataclass(frozen=True)
class GivenLabels:
    """Labels as three columns, and the classes of items where they are known (-1: not)."""

    item: Int[ndarray, " labels"]
    annotator: Int[ndarray, " labels"]
    label: Int[ndarray, " labels"]
    known: Int[ndarray, " items"]
    annotators: int
    classes: int


def estimate_confusion(
    given: GivenLabels, *, mirror: tuple[int, ...] | None = None, prior: float = PRIOR, right: float = RIGHT
) -> Confusion:
    """The model of these labels.

    `mirror` names, for each class, the one that it becomes when the answers of a pair are swapped: then both have the
    same share, and an annotator's matrix is the same after the swap. Which answer is the first of a pair is arbitrary.
    """
    items, people, classes = len(given.known), given.annotators, given.classes
    pseudo = np.full((classes, classes), prior * (1.0 - right) / max(1, classes - 1))
    np.fill_diagonal(pseudo, prior * right)
    fixed = given.known >= 0
    sure = np.zeros((items, classes))
    sure[np.flatnonzero(fixed), given.known[fixed]] = 1.0
    cell = given.annotator * classes + given.label
    matrix = np.broadcast_to(pseudo / pseudo.sum(axis=1, keepdims=True), (people, classes, classes)).copy()
    share = np.full(classes, 1.0 / classes)
    probability = np.zeros((items, classes))
    counts = np.zeros((people, classes, classes))
    for _ in range(STEPS):
        logs = np.log(share) + _sum_by(given.item, np.log(matrix)[given.annotator, :, given.label], items)
        logs -= logs.max(axis=1, keepdims=True, initial=-np.inf)
        before, probability = probability, np.exp(logs)
        probability /= probability.sum(axis=1, keepdims=True)
        probability[fixed] = sure[fixed]
        for true in range(classes):
            weights = probability[given.item, true]
            counts[:, true] = np.bincount(cell, weights, people * classes).reshape(people, classes)
        share = probability.sum(axis=0) + 1.0
        if mirror is not None:
            order = list(mirror)
            counts = (counts + counts[:, order][:, :, order]) / 2
            share = share + share[order]
        matrix = counts + pseudo
        matrix /= matrix.sum(axis=2, keepdims=True)
        share = share / share.sum()
        if np.abs(probability - before).max(initial=0.0) < TOLERANCE:
            break
    weight = np.bincount(given.annotator, minlength=people) + prior
    hits = np.einsum("akk->a", counts) + prior * right
    return Confusion(probability, matrix, share, hits / weight, weight)


def _sum_by(index: Int[ndarray, " rows"], values: Float[ndarray, "rows classes"], size: int) -> Float[ndarray, "n k"]:
    return np.stack([np.bincount(index, values[:, k], size).astype(float) for k in range(values.shape[1])], axis=1)
