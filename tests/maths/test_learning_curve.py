"""Learning curves: curves that are known, and what more labels bring."""

import math

import numpy as np
import pytest

from steersman.maths.learning_curve import PowerCurve, fit_curve, resampled_curves


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
def test_points_on_a_curve_give_that_curve(exponent):
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    found = fit_curve(sizes, 0.75 - 1.2 * sizes**-exponent)
    assert (found.limit, found.slope, found.exponent) == pytest.approx((0.75, 1.2, exponent))


def test_gain_and_need_by_hand():
    """0.8 - 2 / sqrt(n): 0.6 at 100 labels, 0.7 at 400, and no number reaches more than 0.2 above 0.6."""
    curve = PowerCurve(0.8, 2.0, 0.5)
    assert curve.value(100) == pytest.approx(0.6)
    assert curve.gain(100, 300) == pytest.approx(0.1)
    assert curve.needed(100, 0.1) == pytest.approx(300)
    assert math.isinf(curve.needed(100, 0.2))
    assert math.isinf(PowerCurve(0.6, 0.0, 0.5).needed(100, 0.01))


def test_more_labels_that_do_harm_are_a_curve_that_falls():
    sizes = np.array([100.0, 200.0, 400.0])
    found = fit_curve(sizes, np.array([0.7, 0.69, 0.68]))
    assert found.slope < 0
    assert found.gain(400, 400) < 0
    assert math.isinf(found.needed(400, 0.01))


def test_resamples_follow_the_prompts_and_the_models_of_a_size():
    generator = np.random.default_rng(0)
    sizes = np.array([100.0, 100.0, 200.0, 400.0])
    prompts = np.repeat(np.arange(150), 2)
    chance = np.array([0.60, 0.62, 0.66, 0.70])
    values = (generator.random((4, 300)) < chance[:, None]).astype(float)
    drawn, curves = resampled_curves(sizes, values, prompts, resamples=200, generator=generator)
    assert drawn.shape == (200, 3)
    assert len(curves) == 200
    assert drawn.mean(0) == pytest.approx([values[:2].mean(), values[2].mean(), values[3].mean()], abs=0.01)
    # 300 labels of 150 prompts whose two labels are independent: about sqrt(0.7 * 0.3 / 300) = 0.026.
    assert drawn[:, 2].std() == pytest.approx(0.026, abs=0.01)
