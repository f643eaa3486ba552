"""Influence of labels on a head: against refitting, against differences, and by hand."""

import numpy as np
import pytest

from steersman.maths.influence import HeadInfluence, LabelledPairs, loss_gradient, pair_losses


def fitted(features: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """The head with the least loss, by Newton's method written out."""
    head = np.zeros(features.shape[1])
    for _ in range(40):
        probability = 1 / (1 + np.exp(-features @ head))
        gradient = features.T @ (probability - targets) + ridge * head
        curvature = (features.T * (probability * (1 - probability))) @ features + ridge * np.eye(len(head))
        head = head - np.linalg.solve(curvature, gradient)
    return head


@pytest.fixture
def problem():
    generator = np.random.default_rng(3)
    features = generator.normal(size=(400, 6))
    truth = generator.normal(size=6)
    targets = (generator.random(400) < 1 / (1 + np.exp(-features @ truth))).astype(float)
    head = fitted(features, targets, 1e-6)
    return features, targets, head, LabelledPairs(features, features @ head, targets, np.ones(400))


def test_a_group_left_out_moves_the_head_as_refitting_without_it(problem):
    features, targets, head, pairs = problem
    influence = HeadInfluence(pairs, damping=1e-9)
    for rows in (slice(0, 40), slice(100, 101), slice(200, 300)):
        mask = np.zeros(400, dtype=bool)
        mask[rows] = True
        refitted = fitted(features[~mask], targets[~mask], 1e-6) - head
        assert np.allclose(influence.without(mask), refitted, rtol=0.25, atol=0.02)
        assert np.corrcoef(influence.without(mask), refitted)[0, 1] > 0.98


def test_the_influence_of_each_label_is_that_of_a_group_of_one(problem):
    _, _, _, pairs = problem
    influence = HeadInfluence(pairs, damping=0.1)
    direction = np.arange(6.0)
    each = influence.of_each(direction)
    for row in (0, 57, 399):
        mask = np.zeros(400, dtype=bool)
        mask[row] = True
        assert influence.without(mask) @ direction == pytest.approx(each[row], rel=0.05)


def test_one_feature_by_hand():
    """One label, difference of features 2, margin 0: p = 1/2, gradient (1/2 - 1) 2 = -1, curvature 1/4 * 4 = 1. With a
    damping of 1 the whole curvature is 2, so the head would move by -1/2 for one unit of the direction."""
    pairs = LabelledPairs(np.array([[2.0]]), np.zeros(1), np.ones(1), np.ones(1))
    influence = HeadInfluence(pairs, damping=1.0)
    assert influence.of_each(np.ones(1)).tolist() == [-0.5]
    # Without its own curvature only the damping is left.
    assert influence.without(np.array([True])).tolist() == [-1.0]


def test_a_weight_counts_as_so_many_labels(problem):
    features, targets, _, pairs = problem
    double = LabelledPairs(
        np.concatenate([features, features[:1]]),
        np.append(pairs.margins, pairs.margins[0]),
        np.append(targets, targets[0]),
        np.ones(401),
    )
    weights = np.ones(400)
    weights[0] = 2.0
    weighted = LabelledPairs(features, pairs.margins, targets, weights)
    first, both = np.zeros(400, dtype=bool), np.zeros(401, dtype=bool)
    first[0] = both[0] = both[400] = True
    assert np.allclose(
        HeadInfluence(weighted, damping=1e-9).without(first), HeadInfluence(double, damping=1e-9).without(both)
    )


def test_the_gradient_is_that_of_the_mean_loss(problem):
    features, targets, head, pairs = problem
    step = np.zeros(6)
    step[2] = 1e-5
    up, down = (pair_losses(features @ (head + sign * step), targets).mean() for sign in (1, -1))
    assert loss_gradient(pairs)[2] == pytest.approx((up - down) / 2e-5, abs=1e-8)


def test_a_loss_is_that_of_bradley_and_terry():
    # -log sigmoid(1) = 0.3133, -log sigmoid(-1) = 1.3133, and a tie is the mean of both: 0.8133.
    found = pair_losses(np.ones(3), np.array([1.0, 0.0, 0.5]))
    assert found.tolist() == pytest.approx([0.31326, 1.31326, 0.81326], abs=1e-5)
