"""Length-controlled scores: the line by hand and against scipy, and what is left when it is taken off."""

import numpy as np
import pytest
from scipy.stats import linregress

from steersman.errors import DataError
from steersman.records import Prompt
from steersman.reward.function import FunctionScorer
from steersman.reward.length import LengthControlledScorer, Trend, measure_trend
from steersman.reward.scorer import Score, SpanReward

ASK = Prompt(text="Say")


def test_the_line_by_hand():
    # lengths 1, 2, 3 (mean 2, squares 2), scores 1, 2, 6 (mean 3): slope = (-1 * -2 + 1 * 3) / 2 = 2.5; residuals .5,
    # -1, .5, so that 1.5 of 14 squares are left: R squared 1 - 1.5 / 14.
    trend = measure_trend([1, 2, 3], [1.0, 2.0, 6.0])
    assert (trend.slope, trend.mean_length) == (pytest.approx(2.5), 2.0)
    assert trend.explained == pytest.approx(1 - 1.5 / 14)
    assert trend.of(4) == pytest.approx(5.0)


def test_the_line_is_that_of_scipy():
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, 200, size=300)
    scores = 0.01 * lengths + draw.normal(size=300)
    expected, found = linregress(lengths, scores), measure_trend(lengths.tolist(), scores.tolist())
    assert found.slope == pytest.approx(expected.slope)  # pyright: ignore[reportAttributeAccessIssue]
    assert found.explained == pytest.approx(expected.rvalue**2)  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_left_no_longer_follows_length_and_keeps_its_mean():
    draw = np.random.default_rng(1)
    answers = ["x" * int(n) for n in draw.integers(1, 90, size=200)]
    noise = dict(zip(answers, draw.normal(size=200), strict=True))
    scorer = FunctionScorer(lambda answer: 0.05 * len(answer) + noise[answer])
    items = [(ASK, answer) for answer in answers]
    before = [score.value for score in scorer.score(items)]
    controlled = LengthControlledScorer(scorer, measure_trend([len(a) for a in answers], before)).score(items)
    after = [score.value for score in controlled]
    assert measure_trend([len(a) for a in answers], after).slope == pytest.approx(0.0, abs=1e-12)
    assert np.mean(after) == pytest.approx(np.mean(before))
    assert [score.parts["before"] for score in controlled] == pytest.approx(before)
    assert [score.value + score.parts["owed to length"] for score in controlled] == pytest.approx(before)


def test_spans_and_notes_pass_through():
    scorer = FunctionScorer(lambda answer: Score(2.0, {"kind": 1.0}, "cut", (SpanReward(0, 1, 0.5),)))
    score = LengthControlledScorer(scorer, Trend(1.0, 2.0, 0.5)).score([(ASK, "abc")])[0]
    assert score.value == 1.0  # one character more than the mean
    assert (score.note, score.spans, score.parts["kind"]) == ("cut", (SpanReward(0, 1, 0.5),), 1.0)


def test_scores_that_never_vary_owe_nothing_to_length():
    assert measure_trend([1, 2, 3], [4.0, 4.0, 4.0]) == Trend(0.0, 2.0, 0.0)


@pytest.mark.parametrize("lengths", [[], [3], [5, 5, 5]])
def test_answers_of_one_length_show_no_trend(lengths):
    with pytest.raises(DataError, match="different lengths"):
        measure_trend(lengths, [1.0] * len(lengths))


def test_two_answers_of_different_length_show_a_trend():
    trend = measure_trend([1, 3], [1.0, 5.0])
    assert (trend.slope, trend.mean_length, trend.explained) == (2.0, 2.0, pytest.approx(1.0))


def test_equal_scores_have_no_trend_and_nothing_to_explain():
    assert measure_trend([1, 2, 3], [4.0, 4.0, 4.0]) == Trend(0.0, 2.0, 0.0)


def test_a_scorer_that_leaves_an_answer_out_is_noticed():
    class Forgetful:
        name = "forgetful"

        def score(self, items):
            return [Score(1.0)] * (len(items) - 1)

    with pytest.raises(ValueError, match="shorter"):
        LengthControlledScorer(Forgetful(), Trend(1.0, 2.0, 0.5)).score([(ASK, "a"), (ASK, "b")])
