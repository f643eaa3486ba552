"""Shaping: hand-worked numbers."""

import math

import numpy as np
import pytest

from steersman.errors import DataError
from steersman.reward.scorer import Score, SpanReward
from steersman.reward.shaping import centred_sigmoid, clip, combine, normalise, spread_over_tokens


def test_clipping_moves_only_what_is_outside():
    assert clip(np.array([-3.0, 0.5, 9.0]), -1.0, 1.0).tolist() == [-1.0, 0.5, 1.0]
    with pytest.raises(DataError, match="lower and a higher"):
        clip(np.array([1.0]), 2.0, 2.0)


def test_normalising_by_the_own_moments_gives_mean_zero_and_deviation_one():
    values = np.array([1.0, 3.0, 5.0])  # mean 3, variance (4 + 0 + 4) / 3
    found = normalise(values, mean=3.0, std=math.sqrt(8 / 3))
    assert found.mean() == pytest.approx(0.0)
    assert found.std() == pytest.approx(1.0)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_a_scale_of_nothing_is_refused(std):
    with pytest.raises(DataError, match="standard deviation above 0"):
        normalise(np.array([1.0]), mean=0.0, std=std)


def test_the_centred_sigmoid_is_the_mean_preference_over_the_references():
    # sigmoid(0) = 0.5; sigmoid(ln 3) = 3/4; so 0.625 for a score of ln 3 against references ln 3 and 0.
    found = centred_sigmoid(np.array([math.log(3)]), np.array([[math.log(3), 0.0]]))
    assert found[0] == pytest.approx(0.625)
    assert centred_sigmoid(np.array([1e6, -1e6]), np.zeros((2, 1))).tolist() == [1.0, 0.0]
    with pytest.raises(DataError, match="reference"):
        centred_sigmoid(np.array([1.0]), np.zeros((1, 0)))


def test_a_weighted_sum_needs_a_weight_for_each_part():
    parts = {"good": np.array([1.0, 2.0]), "long": np.array([10.0, 0.0])}
    assert combine(parts, {"good": 2.0, "long": -0.1}).tolist() == [1.0, 4.0]
    for weights in ({"good": 1.0}, {"good": 1.0, "other": 1.0}):
        with pytest.raises(DataError, match="one weight for each part"):
            combine(parts, weights)
    with pytest.raises(DataError, match="one weight for each part"):
        combine({}, {})


def test_a_span_pays_at_the_last_token_it_touches():
    # "Yes. No." in tokens: "Yes" 0-3, "." 3-4, " No" 4-7, "." 7-8, and an end of turn without characters.
    offsets = [(0, 3), (3, 4), (4, 7), (7, 8), (8, 8)]
    spans = [SpanReward(0, 4, 1.0), SpanReward(5, 8, -2.0), SpanReward(0, 2, 0.5)]
    assert spread_over_tokens(spans, offsets) == [0.5, 1.0, 0.0, -2.0, 0.0]
    assert spread_over_tokens([], []) == []


def test_a_span_outside_the_answer_is_refused():
    with pytest.raises(DataError, match=r"characters 8 to 9, .* end at character 8\)"):
        spread_over_tokens([SpanReward(8, 9, 1.0)], [(0, 8)])
    with pytest.raises(DataError, match=r"end at character 0\)"):
        spread_over_tokens([SpanReward(0, 1, 1.0)], [])


def test_a_score_is_finite():
    with pytest.raises(DataError, match="finite"):
        Score(math.nan)
