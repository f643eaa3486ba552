"""Dawid and Skene's model: against a slow loop, on simulated annotators, and its symmetries."""

import numpy as np
import pytest

from steersman.maths.confusion import GivenLabels, estimate_confusion

MIRROR = (1, 0, 2)


def simulated(seed: int, accuracy: list[float], items: int = 300, each: int = 3):
    """Pairs with ties: true classes, and labels of `each` annotators of every item."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, size=items, p=[0.42, 0.42, 0.16])
    rows = []
    for i in range(items):
        for who in rng.choice(len(accuracy), size=each, replace=False):
            right = rng.random() < accuracy[who]
            rows.append((i, who, true[i] if right else rng.choice([k for k in range(3) if k != true[i]])))
    columns = np.array(rows)
    known = np.full(items, -1)
    return true, GivenLabels(columns[:, 0], columns[:, 1], columns[:, 2], known, len(accuracy), 3)


def slow(given: GivenLabels, prior: float, right: float, steps: int):
    """EM with loops over labels."""
    items, people, classes = len(given.known), given.annotators, given.classes
    pseudo = [
        [prior * right if t == g else prior * (1 - right) / (classes - 1) for g in range(classes)]
        for t in range(classes)
    ]
    matrix = [[[value / prior for value in row] for row in pseudo] for _ in range(people)]
    share = [1 / classes] * classes
    probability = [[0.0] * classes for _ in range(items)]
    for _ in range(steps):
        for i in range(items):
            weights = list(share)
            for item, who, label in zip(given.item, given.annotator, given.label, strict=True):
                if item == i:
                    weights = [w * matrix[who][t][label] for t, w in enumerate(weights)]
            if given.known[i] >= 0:
                weights = [float(t == given.known[i]) for t in range(classes)]
            probability[i] = [w / sum(weights) for w in weights]
        counts = [[list(row) for row in pseudo] for _ in range(people)]
        for item, who, label in zip(given.item, given.annotator, given.label, strict=True):
            for t in range(classes):
                counts[who][t][label] += probability[item][t]
        matrix = [[[c / sum(row) for c in row] for row in one] for one in counts]
        totals = [1.0 + sum(p[t] for p in probability) for t in range(classes)]
        share = [total / sum(totals) for total in totals]
    return np.array(probability), np.array(matrix)


def test_it_is_the_algorithm_of_the_paper():
    _, given = simulated(0, [0.9, 0.6, 0.7, 0.5], items=25)
    given = GivenLabels(given.item, given.annotator, given.label, given.known.copy(), 4, 3)
    given.known[3] = 2
    found = estimate_confusion(given, prior=4.0)
    probability, matrix = slow(given, 4.0, 0.75, 300)
    assert found.probability == pytest.approx(probability, abs=1e-4)
    assert found.matrix == pytest.approx(matrix, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_who_is_reliable(seed):
    accuracy = [0.95, 0.9, 0.8, 0.7, 0.5]
    _, given = simulated(seed, accuracy, items=800)
    found = estimate_confusion(given, mirror=MIRROR)
    assert found.right == pytest.approx(np.array(accuracy), abs=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_soft_labels_are_better_than_the_majority_and_calibrated(seed):
    true, given = simulated(seed, [0.95, 0.9, 0.85, 0.55, 0.45], items=1500)
    found = estimate_confusion(given, mirror=MIRROR)
    votes = np.zeros((1500, 3))
    np.add.at(votes, (given.item, given.label), 1.0)
    majority = votes / votes.sum(axis=1, keepdims=True)
    rows = np.arange(1500)
    loss = -np.log(np.maximum(found.probability[rows, true], 1e-9)).mean()
    majority_loss = -np.log(np.maximum(majority[rows, true], 0.02)).mean()
    assert loss < majority_loss - 0.05
    sure = found.probability.max(axis=1)
    right = found.probability.argmax(axis=1) == true
    for low, high in ((0.5, 0.8), (0.8, 1.0)):
        within = (sure >= low) & (sure < high)
        assert right[within].mean() == pytest.approx(sure[within].mean(), abs=0.08)


def test_swapping_the_answers_swaps_the_soft_labels():
    _, given = simulated(4, [0.9, 0.7, 0.6], items=60)
    swapped = GivenLabels(given.item, given.annotator, np.array(MIRROR)[given.label], given.known, given.annotators, 3)
    one, other = (estimate_confusion(each, mirror=MIRROR) for each in (given, swapped))
    assert one.probability == pytest.approx(other.probability[:, list(MIRROR)], abs=1e-6)
    assert one.right == pytest.approx(other.right, abs=1e-6)


def test_known_classes_stay_and_tell_of_annotators():
    # One annotator, always wrong on gold: without gold they would be taken for right.
    item = np.arange(40)
    given = GivenLabels(item, np.zeros(40, int), np.zeros(40, int), np.where(item < 30, 1, -1), 1, 2)
    found = estimate_confusion(given)
    assert found.right[0] < 0.4
    assert found.probability[:30, 1].min() == 1.0


def test_nothing_given_is_no_error():
    empty = np.zeros(0, int)
    found = estimate_confusion(GivenLabels(empty, empty, empty, empty, 0, 3))
    assert found.probability.shape == (0, 3)
