"""Statistics against trusted libraries, worked examples from the literature, and simulated coverage."""

import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from steersman.maths import statistics


def test_importing_is_light():
    program = (
        "import sys, steersman.maths.statistics; "
        "print(sorted({'torch', 'scipy', 'statsmodels', 'pandas', 'jaxtyping'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Intervals


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_statsmodels(trials: int, share: float, confidence: float):
    successes = round(share * trials)
    found = statistics.wilson_interval(float(successes), float(trials), confidence=confidence)
    low, high = proportion_confint(successes, trials, alpha=1 - confidence, method="wilson")
    assert found == pytest.approx((successes / trials, low, high), abs=1e-12)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_golden_wilson():
    # 5 of 10 at 95 %, z^2 = 3.841459: centre 0.5, half = 1.959964 / 1.3841459 * sqrt(0.025 + 0.00960365) = 0.263407
    found = statistics.wilson_interval(5.0, 10.0, confidence=0.95)
    assert found == pytest.approx((0.5, 0.236593, 0.763407), abs=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("trials", [20, 100])
def test_wilson_covers_about_as_often_as_it_says(share: float, trials: int):
    # Exact, by summing the binomial probabilities of all outcomes whose interval holds the truth.
    covered = 0.0
    for successes in range(trials + 1):
        found = statistics.wilson_interval(float(successes), float(trials), confidence=0.95)
        if found.low <= share <= found.high:
            covered += binom.pmf(successes, trials, share)
    assert 0.92 < covered < 0.98


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"), [(0.0, 0.0, 0.95), (3.0, 2.0, 0.95), (1.0, 2.0, 1.0), (1.0, 2.0, 0.0)]
)
def test_impossible_proportions_are_refused(successes: float, trials: float, confidence: float):
    with pytest.raises(ValueError, match=r"successes in|confidence is"):
        statistics.wilson_interval(successes, trials, confidence=confidence)


def test_golden_difference_of_two_shares_on_the_same_items():
    """Ten items: on three only the first is right, on one only the second. Half an item is added to each cell:
    centre (3 - 1) / 12 = 0.1667; half width 1.96 · sqrt(3 + 1 + 1 - 2² / 12) / 12 = 1.96 · 2.1602 / 12 = 0.3528."""
    found = statistics.paired_shares_interval([1, 1, 1, -1, 0, 0, 0, 0, 0, 0], 10.0, confidence=0.95)
    assert found == pytest.approx((0.2, -0.18617, 0.51950), abs=1e-5)
    surely = statistics.paired_shares_interval([1, 1, 1], 3.0, confidence=0.95)
    assert surely.low < surely.estimate == surely.high == 1.0, "three items are no certainty"


def test_the_difference_of_two_shares_covers_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        cells = generator.multinomial(40, [0.2, 0.1, 0.7])
        values = np.repeat([1.0, -1.0, 0.0], cells)
        found = statistics.paired_shares_interval(values, 40.0, confidence=0.9)
        covered += found.low <= 0.1 <= found.high
    assert 0.88 < covered / 2000 < 0.94


@pytest.mark.parametrize("effective", [0.0, 2.5])
def test_impossible_numbers_of_items_are_refused(effective: float):
    with pytest.raises(ValueError, match=r"independent items among 2"):
        statistics.paired_shares_interval([1, 0], effective, confidence=0.95)


def test_the_bootstrap_covers_about_as_often_as_it_says():
    world, generator = np.random.default_rng(1), np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        sample = world.exponential(1.0, size=80)
        found = statistics.bootstrap_interval(sample, confidence=0.9, resamples=400, generator=generator)
        covered += found.low <= 1.0 <= found.high
    # Binomial error over 400 runs is 1.5 points; skew costs the percentile method about two.
    assert 0.84 <= covered / 400 <= 0.94


def test_the_bootstrap_of_a_mean_is_as_wide_as_the_normal_theory_says():
    sample = np.random.default_rng(3).normal(5, 2, size=400)
    found = statistics.bootstrap_interval(sample, confidence=0.95, resamples=4000, generator=np.random.default_rng(0))
    half = 1.96 * sample.std() / 20
    assert found.estimate == pytest.approx(sample.mean())
    assert (found.low, found.high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.1 * half)


def test_the_same_seed_gives_the_same_interval_and_any_statistic_can_be_asked():
    table = np.random.default_rng(0).normal(size=(50, 2))

    def slope(rows: np.ndarray[Any, Any]) -> float:
        return float(np.polyfit(rows[:, 0], rows[:, 1], 1)[0])

    first, second = (
        statistics.bootstrap_interval(
            table, confidence=0.9, resamples=200, generator=np.random.default_rng(7), statistic=slope
        )
        for _ in range(2)
    )
    assert first == second
    assert first.low < first.estimate < first.high


def test_pairing_removes_what_both_sides_share():
    difficulty = np.random.default_rng(0).normal(0, 10, size=60)
    better = difficulty + 1 + np.random.default_rng(1).normal(0, 0.5, size=60)
    found = statistics.paired_bootstrap_interval(
        better, difficulty, confidence=0.99, resamples=1000, generator=np.random.default_rng(0)
    )
    assert 0.5 < found.low < 1 < found.high < 1.5


def test_one_value_cannot_be_resampled():
    with pytest.raises(ValueError, match="cannot be resampled"):
        statistics.bootstrap_interval([1.0], confidence=0.9, resamples=10, generator=np.random.default_rng(0))


def test_pairs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="two flat lists of the same length"):
        statistics.pearson([1, 2, 3], [1, 2])


# Agreement


def test_agreement_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="no unit has two labels"):
        statistics.pairwise_agreement([["a"], ["b"]], confidence=0.95)


def test_golden_pairwise_agreement():
    # Units of two: 3 of 4 agree. As a proportion with 4 trials.
    found = statistics.pairwise_agreement([["a", "a"], ["b", "b"], ["a", "b"], ["c", "c"], ["c"]], confidence=0.95)
    assert found == pytest.approx(statistics.wilson_interval(3.0, 4.0, confidence=0.95))
    # a a b: one of its three pairs agrees.
    assert statistics.pairwise_agreement([["a", "a", "b"]], confidence=0.95).estimate == pytest.approx(1 / 3)


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=8))
def test_pairwise_agreement_equals_the_slow_count(units: list[list[int]]):
    pairs = [one == other for unit in units for one, other in itertools.combinations(unit, 2)]
    if pairs:
        found = statistics.pairwise_agreement(units, confidence=0.95)
        assert found.estimate == pytest.approx(sum(pairs) / len(pairs))
        assert found.low <= found.estimate <= found.high


def test_the_agreement_interval_covers_units_of_several_labels():
    # A share 0.8 of the labels is "a" in an easy unit, 0.5 in a hard one; agreement .68 and .5, on average .59.
    random, covered = np.random.default_rng(0), 0
    for _ in range(300):
        shares = random.choice([0.8, 0.5], size=60)
        units = [(random.random(4) < share).tolist() for share in shares]
        found = statistics.pairwise_agreement(units, confidence=0.9)
        covered += found.low <= 0.59 <= found.high
    assert covered / 300 >= 0.9


# Calibration and correlation


def test_golden_calibration_error():
    # Two bins: (.2, .4) said .3, came .5 -> .2; (.9, .7) said .8, came 1 -> .2. Weighted mean .2.
    curve = statistics.reliability_curve([0.2, 0.4, 0.9, 0.7], [0, 1, 1, 1], bins=2)
    assert [tuple(b) for b in curve] == [
        pytest.approx((0, 0.5, 0.3, 0.5, 2)),
        pytest.approx((0.5, 1, 0.8, 1, 2)),
    ]
    assert statistics.expected_calibration_error([0.2, 0.4, 0.9, 0.7], [0, 1, 1, 1], bins=2) == pytest.approx(0.2)


def test_certainty_falls_in_the_last_bin_and_empty_bins_are_left_out():
    curve = statistics.reliability_curve([1.0, 0.0], [1, 0], bins=10)
    assert [b.low for b in curve] == [0, 0.9]
    assert statistics.expected_calibration_error([1.0, 0.0], [1, 0], bins=10) == 0


def test_probabilities_out_of_range_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        statistics.reliability_curve([1.2], [1], bins=10)


def test_the_temperature_that_made_the_outcomes_is_found():
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, size=20_000)
    outcomes = random.random(20_000) < 1 / (1 + np.exp(-logits / 2.5))
    temperature = statistics.fit_temperature(logits, outcomes)
    assert temperature == pytest.approx(2.5, rel=0.05)
    raw, scaled = (1 / (1 + np.exp(-logits / t)) for t in (1.0, temperature))
    assert statistics.expected_calibration_error(scaled, outcomes, bins=15) < 0.02
    assert statistics.expected_calibration_error(raw, outcomes, bins=15) > 0.08


def test_golden_temperature():
    # One gap of 2 with soft target 0.75: sigmoid(2 / T) = 0.75, so 2 / T = log 3.
    assert statistics.fit_temperature([2.0], [0.75]) == pytest.approx(2 / math.log(3))


def test_the_temperature_has_limits():
    assert statistics.fit_temperature([1.0, -1.0], [1, 0]) == 1e-3
    assert statistics.fit_temperature([1.0, -1.0], [0, 1]) == 1e3
    assert statistics.fit_temperature([0.0, 0.0], [0, 1]) == 1e3
    with pytest.raises(ValueError, match="no logits"):
        statistics.fit_temperature([], [])


def test_golden_correlations():
    # Deviations -1.5 -.5 .5 1.5 and -1 -2 2 1 from the mean 3: sum 1.5 + 1 + 1 + 1.5 = 5; 5 / sqrt(5 * 10) = 0.707107.
    assert statistics.pearson([1, 2, 3, 4], [2, 1, 5, 4]) == pytest.approx(0.707107, abs=1e-6)
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6.
    assert statistics.spearman([1, 2, 3, 4], [2, 1, 5, 4]) == pytest.approx(0.6)
    assert math.isnan(statistics.pearson([1, 1], [1, 2]))
    assert math.isnan(statistics.spearman([1], [1]))


# Ratings and best-of-n


def test_golden_ratings_of_two():
    # 3 wins against 1: the odds are 3, so the ratings are half of log 3 either side of 0. Two ties more: 4 against 2.
    ratings = statistics.bradley_terry_ratings(np.array([[0, 3], [1, 0]]), prior=0.0)
    assert ratings.tolist() == pytest.approx([math.log(3) / 2, -math.log(3) / 2])
    ratings = statistics.bradley_terry_ratings(np.array([[0, 3], [1, 0]]), prior=2.0)
    assert (ratings[0] - ratings[1]) == pytest.approx(math.log(2))


def test_ratings_that_made_the_games_are_found_and_the_likelihood_is_flat_there():
    truth = np.array([1.2, 0.3, -0.4, -1.1])
    chance = 1 / (1 + np.exp(-(truth[:, None] - truth[None, :])))
    wins = 200 * chance * (1 - np.eye(4))
    assert statistics.bradley_terry_ratings(wins, prior=0.0).tolist() == pytest.approx(truth.tolist(), abs=1e-8)
    noisy = np.random.default_rng(0).binomial(50, chance) * (1 - np.eye(4, dtype=int))
    ratings = statistics.bradley_terry_ratings(noisy, prior=0.0)
    expected = (noisy + noisy.T) / (1 + np.exp(-(ratings[:, None] - ratings[None, :])))
    assert noisy.sum(1).tolist() == pytest.approx(expected.sum(1).tolist(), abs=1e-6)
    assert ratings.sum() == pytest.approx(0, abs=1e-9)


def test_a_player_who_always_wins_needs_a_prior():
    wins = np.array([[0, 3, 1], [0, 0, 1], [0, 1, 0]])
    with pytest.raises(ValueError, match="Give a prior above 0"):
        statistics.bradley_terry_ratings(wins, prior=0.0)
    ratings = statistics.bradley_terry_ratings(wins, prior=0.5)
    assert ratings[0] == ratings.max()
    assert np.isfinite(ratings).all()


@pytest.mark.parametrize("wins", [np.zeros((2, 3)), np.zeros((1, 1)), np.array([[0, -1], [1, 0]])])
def test_a_table_that_is_no_table_of_games_is_refused(wins: np.ndarray[Any, Any]):
    with pytest.raises(ValueError, match="square table of counts"):
        statistics.bradley_terry_ratings(wins, prior=0.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=7), st.integers(1, 7))
def test_best_of_n_equals_the_mean_over_all_subsets(samples: list[tuple[int, float]], n: int):
    n = min(n, len(samples))
    best: list[float] = []
    for subset in itertools.combinations(samples, n):
        top = max(proxy for proxy, _ in subset)
        tied = [gold for proxy, gold in subset if proxy == top]
        best.append(sum(tied) / len(tied))
    proxy, gold = zip(*samples, strict=True)
    assert statistics.best_of_n_estimate(proxy, gold, n) == pytest.approx(sum(best) / len(best), abs=1e-9)


def test_golden_best_of_n():
    # Best of 2 of 3 by proxy: the middle wins 1 subset of 3, the top 2 of 3: (20 + 2 * 30) / 3 = 26.6667.
    assert statistics.best_of_n_estimate([3, 1, 2], [30, 10, 20], 2) == pytest.approx(80 / 3)
    assert statistics.best_of_n_estimate([3, 1, 2], [30, 10, 20], 1) == pytest.approx(20)
    assert statistics.best_of_n_estimate([3, 1, 2], [30, 10, 20], 3) == pytest.approx(30)
    assert statistics.best_of_n_kl(1) == 0
    assert statistics.best_of_n_kl(16) == pytest.approx(1.835089, abs=1e-6)  # 2.772589 - 15/16


def test_best_of_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="best of 4 from 3"):
        statistics.best_of_n_estimate([1, 2, 3], [1, 2, 3], 4)
    with pytest.raises(ValueError, match="best of 0"):
        statistics.best_of_n_kl(0)
