"""Distances of features against a trusted library, and what is usual."""

import json
from importlib import import_module

import numpy as np
import pytest

from steersman.watch.latent import Usual, fit


def cloud(answers: int, width: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    return drawn.normal(size=(answers, width)) @ np.diag(np.linspace(3.0, 0.2, width)) + 5.0


@pytest.mark.parametrize(("answers", "width"), [(200, 12), (40, 64)])
def test_distances_are_mahalanobis_under_the_covariance_of_probabilistic_components(answers, width):
    decomposition = import_module("sklearn.decomposition")
    features, others = cloud(answers, width), cloud(30, width, seed=1)
    library = decomposition.PCA(n_components=6, svd_solver="full").fit(features)
    centred = others - features.mean(0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(library.get_covariance()), centred))
    assert fit(features, 6).distances(others) == pytest.approx(expected, rel=1e-6)


def test_one_in_twenty_of_the_references_own_answers_is_unusual_and_another_kind_nearly_always():
    usual = Usual.of(cloud(192, 64))
    assert usual is not None
    share = np.mean(np.array(usual.unusual(cloud(4000, 64, seed=2))) > 1)
    assert 0.01 < share < 0.1
    assert np.mean(np.array(usual.unusual(cloud(100, 64, seed=3) + 3.0)) > 1) > 0.9


def test_what_is_usual_goes_through_json_to_the_bit():
    usual = Usual.of(cloud(60, 16))
    assert usual is not None
    again = Usual.from_facts(json.loads(json.dumps(usual.facts())))
    others = cloud(10, 16, seed=4)
    assert again.unusual(others) == usual.unusual(others)


def test_few_answers_say_nothing_of_what_is_usual():
    assert Usual.of(cloud(19, 8)) is None


def test_features_that_are_all_alike_say_nothing_of_what_is_usual():
    assert Usual.of(np.ones((30, 8))) is None


def test_twenty_answers_are_enough_to_know_what_is_usual_and_nineteen_are_not():
    features = np.random.default_rng(0).normal(size=(20, 4))
    assert Usual.of(features) is not None
    assert Usual.of(features[:19]) is None


def test_a_fit_has_16_components_and_half_as_many_as_answers_at_most():
    assert fit(cloud(100, 40)).directions.shape == (16, 40)
    assert fit(cloud(21, 40)).directions.shape == (10, 40)
    assert fit(cloud(100, 4)).directions.shape == (3, 4)
    assert fit(cloud(2, 1)).directions.shape == (1, 1)


def test_the_limit_is_the_95_percent_quantile_of_distances_by_fits_that_left_the_answers_out():
    features = cloud(23, 6)
    distances = np.zeros(23)
    for i in range(23):
        others = [j for j in range(23) if j % 5 != i % 5]
        distances[i] = fit(features[others]).distances(features[i : i + 1])[0]
    usual = Usual.of(features)
    assert usual is not None
    assert usual.limit == pytest.approx(np.quantile(distances, 0.95))
    assert usual.unusual(features) == pytest.approx(fit(features).distances(features) / usual.limit)
