"""Figures: the mean, the paired change, ratios such as perplexity, and that their intervals cover as often as they
say."""

import math

import numpy as np
import pytest
from scipy import stats

from steersman.evaluate.figures import Column, Intervals, Measure, MetricValue, by_measure, figures, ratio_figures
from steersman.maths.statistics import Interval, wilson_interval

DICE = Intervals(0.95, 1000, 0)
SCORE = Measure("score", "reward", "number", "higher", "")


def test_a_change_is_paired_and_judged_by_what_is_better():
    before = np.array([0.0, 10.0, 20.0, 30.0, 40.0] * 8)
    found = figures(SCORE, [Column("a", before), Column("b", before + 1), Column("c", before - 1)], "a", DICE)
    assert [figure.verdict for figure in found] == ["", "better", "worse"]
    assert found[1].change == pytest.approx((1.0, 1.0, 1.0))
    assert found[0].value.high - found[0].value.low > 5, (
        "unpaired the change would be lost in the spread of the prompts"
    )
    lower = Measure("toxicity", "mean", "mean share", "lower", "")
    assert figures(lower, [Column("a", before), Column("b", before + 1)], "a", DICE)[1].verdict == "worse"
    noise = np.random.default_rng(0).normal(size=40)
    assert (
        figures(SCORE, [Column("a", before), Column("b", before + noise - noise.mean())], "a", DICE)[1].verdict
        == "unclear"
    )
    assert list(by_measure(found)) == ["score/reward"]


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=60)
    found = figures(SCORE, [Column("a", values)], "a", Intervals(0.95, 20_000, 0))[0].value
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_shares_of_yes_and_no_have_wilsons_interval():
    share = Measure("words", "ended", "share", "higher", "")
    rows = np.array([1.0] * 9 + [0.0])
    assert figures(share, [Column("a", rows)], "a", DICE)[0].value == wilson_interval(9.0, 10.0, confidence=0.95)


def test_a_perplexity_is_of_all_tokens_together():
    # 3 nats in 2 tokens and 1 nat in 6: exp(4 / 8), and not the mean of exp(1.5) and exp(1/6)
    rows = np.array([[3.0, 2.0], [1.0, 6.0]])
    measure = Measure("knowledge", "perplexity", "perplexity", "lower", "")
    found = ratio_figures(measure, [Column("a", rows), Column("b", rows * [2.0, 1.0])], "a", DICE, math.exp)
    assert found[0].value.estimate == pytest.approx(math.exp(0.5))
    assert found[1].value.estimate == pytest.approx(math.e)
    assert found[1].change is not None
    assert found[1].change.estimate == pytest.approx(math.e - math.exp(0.5))


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say():
    """Answers to one prompt share its difficulty; over answers the interval would be far too narrow, over prompts it is
    right."""
    random, mean, change, ratio = np.random.default_rng(0), 0, 0, 0
    for _ in range(200):
        difficulty = random.normal(size=(50, 1))
        before = (difficulty + random.normal(size=(50, 4))).mean(axis=1)
        after = (difficulty + 0.3 + random.normal(size=(50, 4))).mean(axis=1)
        found = figures(SCORE, [Column("a", before), Column("b", after)], "a", Intervals(0.95, 300, 0))
        mean += found[0].value.low <= 0.0 <= found[0].value.high
        assert found[1].change is not None
        change += found[1].change.low <= 0.3 <= found[1].change.high
        tokens = random.integers(5, 30, size=50).astype(float)
        rows = np.stack([tokens * random.normal(1.0, 0.2, size=50), tokens], axis=1)
        of_ratio = ratio_figures(SCORE, [Column("a", rows)], "a", Intervals(0.95, 300, 0), lambda x: x)[0].value
        ratio += of_ratio.low <= 1.0 <= of_ratio.high
    # 200 draws of a 95 % interval: 3 standard deviations are 0.046
    assert min(mean, change, ratio) / 200 >= 0.90
    assert max(mean, change, ratio) / 200 <= 0.995


def test_a_ratio_of_nothing_divides_by_no_zero():
    rows = np.zeros((4, 2))
    found = ratio_figures(SCORE, [Column("a", rows)], "a", DICE, lambda value: value)
    assert found[0].value == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("better", "low", "high", "verdict"),
    [
        ("higher", 0.0, 1.0, "unclear"),
        ("higher", -1.0, 0.0, "unclear"),
        ("higher", 0.1, 1.0, "better"),
        ("lower", 0.1, 1.0, "worse"),
        ("lower", -1.0, -0.1, "better"),
        ("", 0.1, 1.0, "other"),
    ],
)
def test_a_change_whose_interval_holds_zero_is_unclear(better, low, high, verdict):
    change = Interval((low + high) / 2, low, high)
    figure = MetricValue(Measure("g", "n", "number", better, ""), "m", change, 3, change)
    assert figure.verdict == verdict
    assert figure.as_dict()["verdict"] == verdict
