"""Logistic regression against closed forms."""

import math

import numpy as np
import pytest

from steersman.maths.logistic import fit_logistic


def test_one_cause_of_two_values_is_the_log_odds_ratio():
    # 30 of 40 with the cause, 10 of 40 without: odds 3 and 1/3, so log 9; its error is sqrt(1/30 + 1/10 + 1/10 + 1/30)
    cause = np.repeat([1.0, 0.0], 40)
    outcome = np.array([1.0] * 30 + [0.0] * 10 + [1.0] * 10 + [0.0] * 30)
    found = fit_logistic(np.stack([np.ones(80), cause], axis=1), outcome)
    assert found.coefficient[1] == pytest.approx(math.log(9), rel=0.01)
    assert found.error[1] == pytest.approx(math.sqrt(2 / 30 + 2 / 10), rel=0.01)


def test_a_cause_is_told_from_what_comes_with_it():
    rng = np.random.default_rng(0)
    longer = rng.normal(size=4000)
    lists = longer + 0.5 * rng.normal(size=4000)  # comes with length, and does nothing by itself
    outcome = (rng.random(4000) < 1 / (1 + np.exp(-1.0 * longer))).astype(float)
    found = fit_logistic(np.stack([longer, lists], axis=1), outcome)
    assert found.coefficient[0] == pytest.approx(1.0, abs=3 * found.error[0])
    assert found.coefficient[1] == pytest.approx(0.0, abs=3 * found.error[1])


def test_what_decides_every_choice_or_never_varies_is_finite():
    found = fit_logistic(np.array([[1.0, 0.0]] * 5), np.ones(5))
    assert np.isfinite(found.coefficient).all()
    assert np.isfinite(found.error).all()
