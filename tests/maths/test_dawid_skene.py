"""Dawid-Skene with one accuracy for each annotator."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.dawid_skene import PRIOR, dawid_skene


def test_votes_of_one_sided_people_give_the_log_odds_of_their_accuracies():
    found = dawid_skene(np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]]))
    odds = [math.log(p / (1 - p)) for p in found.accuracy]
    expected = [odds[0] + odds[1], odds[0] - odds[1], -odds[0] - odds[1], odds[1] - odds[0]]
    assert found.log_odds == pytest.approx(expected)
    assert found.probability == pytest.approx([1 / (1 + math.exp(-x)) for x in expected])


def test_without_votes_the_accuracy_is_the_prior_s():
    found = dawid_skene(np.zeros((3, 2)))
    assert found.accuracy == pytest.approx([PRIOR[0] / sum(PRIOR)] * 2)
    assert found.probability == pytest.approx([0.5] * 3)


def test_one_step_by_hand():
    # two annotators agree on one item: P(first) = .75² / (.75² + .25²) = .9, so each was right .9 times of 1
    found = dawid_skene(np.array([[1.0, 1.0]]), prior=(3.0, 1.0), steps=1)
    assert found.accuracy == pytest.approx([(0.9 + 3) / 5] * 2)


def test_accuracies_are_found_from_votes_alone():
    generator = np.random.default_rng(0)
    accuracy = np.array([0.9, 0.8, 0.7, 0.6, 0.85])
    truth = generator.choice([-1.0, 1.0], 4000)
    right = generator.random((4000, 5)) < accuracy
    votes = np.where(right, truth[:, None], -truth[:, None]) * (generator.random((4000, 5)) < 0.6)
    found = dawid_skene(votes)
    assert found.accuracy == pytest.approx(accuracy, abs=0.03)
    sure = np.abs(found.log_odds) > math.log(9)
    assert np.mean((found.log_odds > 0)[sure] == (truth > 0)[sure]) > 0.88


@given(st.integers(0, 10_000))
def test_names_of_the_answers_and_order_of_the_items_mean_nothing(seed):
    generator = np.random.default_rng(seed)
    votes = generator.integers(-1, 2, (6, 3)).astype(float)
    found, turned, shuffled = dawid_skene(votes), dawid_skene(-votes), dawid_skene(votes[::-1])
    assert turned.log_odds == pytest.approx(-found.log_odds, abs=1e-6)
    assert shuffled.log_odds[::-1] == pytest.approx(found.log_odds, abs=1e-6)
    for one, other in itertools.pairwise((found, turned, shuffled)):
        assert one.accuracy == pytest.approx(other.accuracy, abs=1e-6)
