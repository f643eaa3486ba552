"""Win rates and ratings: by hand, against statsmodels, and what is left out."""

import numpy as np
import pytest
import statsmodels.api as sm

from steersman.evaluate.answers import Answer, MeasuredAnswer, ModelAnswers
from steersman.evaluate.best_of import best_of
from steersman.evaluate.contests import ratings, results_of_people, results_of_scores, win_rates
from steersman.evaluate.figures import Intervals
from steersman.maths.statistics import bradley_terry_ratings, wilson_interval
from steersman.records import Comparison, Completion, Prompt

DICE = Intervals(0.95, 400, 0)


def model(name: str, rows: list[list[float]], **more: list[list[float]]) -> ModelAnswers:
    def answer(k: int, i: int) -> MeasuredAnswer:
        scores = {"reward": float(rows[k][i]), **{key: values[k][i] for key, values in more.items()}}
        return MeasuredAnswer(Answer("a", 1, "end", 0), 0.0, 0.0, None, None, 0, scores)

    return ModelAnswers(
        name, name, [[answer(k, i) for i in range(len(rows[k]))] for k in range(len(rows))], [], [], [], []
    )


def test_every_answer_meets_every_other_and_ties_are_half():
    # prompt 1: 2 and 0 against 1 and 1: two wins, two losses; prompt 2: 1 1 against 1 0: 1-1 tie, 1-0 win, twice: 3 of
    # 4
    models = [model("base", [[1, 1], [1, 0]]), model("new", [[2, 0], [1, 1]])]
    results = results_of_scores(models, "reward")
    assert results[:, 1, 0] == pytest.approx([0.5, 0.75])
    assert results[:, 0, 1] == pytest.approx([0.5, 0.25])
    (win,) = win_rates(results, ["base", "new"], "base", "reward", DICE)
    assert (win.model, win.wins, win.ties, win.losses, win.prompts) == ("new", 1, 1, 0, 2)
    assert win.rate == wilson_interval(1.25, 2.0, confidence=0.95)
    assert win.resampled is not None
    assert win.resampled.low == pytest.approx(0.5)
    assert ratings(results, ["base", "new"], "reward", DICE) == [], "two models have a win rate and need no rating"


def judged(number: int, first: str, second: str, preference: float, shown: str = "") -> Comparison:
    return Comparison(
        Prompt(text=f"p{number}"), Completion("x", model=first), Completion("y", model=second), preference, shown=shown
    )


def test_people_are_counted_prompt_by_prompt_and_by_order():
    pairs = [
        judged(1, "new", "base", 1.0, "first"),
        judged(1, "new", "base", 0.0, "second"),
        judged(2, "base", "new", 0.0, "second"),
        judged(3, "new", "base", 0.5, "first"),
        judged(4, "new", "stranger", 1.0),
    ]
    found = results_of_people(pairs, {"base": 0, "new": 1}, 2)
    assert found.others == 1
    assert found.results[:, 1, 0] == pytest.approx([0.5, 1.0, 0.5])
    (win,) = win_rates(found.results, ["base", "new"], "base", "people", DICE, found.by_order)
    assert (win.prompts, win.rate.estimate) == (3, pytest.approx(2 / 3))
    # new stood first in three judgements (won, won, tied) and second in one (lost)
    assert win.by_order == {"first": (pytest.approx(2.5 / 3), 3), "second": (0.0, 1)}


STRENGTHS = np.array([0.0, 0.7, 1.5])


def drawn(random: np.random.Generator, prompts: int) -> np.ndarray:
    """Results of three models of these strengths, each prompt won by one of the two."""
    results = np.full((prompts, 3, 3), np.nan)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        won = (random.random(prompts) < 1 / (1 + np.exp(STRENGTHS[j] - STRENGTHS[i]))).astype(float)
        results[:, i, j], results[:, j, i] = won, 1 - won
    return results


def test_ratings_are_the_logistic_regression_of_statsmodels():
    results = drawn(np.random.default_rng(0), 400)
    found = ratings(results, ["a", "b", "c"], "reward", DICE)
    # one row a pair and side, weighted by its wins, half a win added to each side for the tie of the prior
    wins = np.nansum(results, axis=0)
    rows, said, weights = [], [], []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        row = np.zeros(3)
        row[i], row[j] = 1.0, -1.0
        rows += [row, row]
        said += [1.0, 0.0]
        weights += [wins[i, j] + 0.5, wins[j, i] + 0.5]
    model = sm.GLM(said, np.array(rows)[:, 1:], family=sm.families.Binomial(), freq_weights=np.array(weights))
    ours = [rating.rating.estimate for rating in found]
    assert [ours[1] - ours[0], ours[2] - ours[0]] == pytest.approx(list(model.fit().params), abs=1e-6)
    assert sum(ours) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
def test_ratings_cover_as_often_as_they_say():
    random, covered = np.random.default_rng(1), 0
    for _ in range(60):
        found = ratings(drawn(random, 120), ["a", "b", "c"], "x", Intervals(0.95, 150, 0))
        covered += sum(
            rating.rating.low <= strength - STRENGTHS.mean() <= rating.rating.high
            for rating, strength in zip(found, STRENGTHS, strict=True)
        )
    assert 0.89 <= covered / 180 <= 0.995


def test_a_win_rate_covers_as_often_as_it_says():
    random, wilson, resampled = np.random.default_rng(0), 0, 0
    for _ in range(300):
        rows = np.full((80, 2, 2), np.nan)
        # a tie in 20 % of the prompts, else a win with probability .6: .1 + .8 * .6 = .58
        tied = random.random(80) < 0.2
        rows[:, 1, 0] = np.where(tied, 0.5, (random.random(80) < 0.6).astype(float))
        (win,) = win_rates(rows, ["base", "new"], "base", "x", Intervals(0.95, 200, 0))
        assert win.resampled is not None
        wilson += win.rate.low <= 0.58 <= win.rate.high
        resampled += win.resampled.low <= 0.58 <= win.resampled.high
    # with ties Wilson's interval is a little wide
    assert wilson / 300 >= 0.93
    assert 0.90 <= resampled / 300 <= 0.985


def test_best_of_two_is_the_mean_over_all_pairs():
    proxy, gold = [[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]], [[1.0, 9.0, 4.0], [2.0, 7.0, 3.0]]
    found = best_of([model("m", proxy, taste=gold)], ["reward", "taste"], DICE)
    by = {(one.gold, one.n): one for one in found}
    # prompt 1, pairs by proxy: (3,1) and (3,2) give 3, (1,2) gives 2: gold 1, 1, 4. Prompt 2: (0,5) 5, (0,1) 1, (5,1)
    # 5: gold 7, 3, 7
    assert by["reward", 2].score.estimate == pytest.approx((8 / 3 + 11 / 3) / 2)
    assert by["taste", 2].score.estimate == pytest.approx((6 / 3 + 17 / 3) / 2)
    assert by["taste", 1].score.estimate == pytest.approx((14 / 3 + 4) / 2)
    assert by["reward", 3].score.estimate == pytest.approx(4.0)
    assert by["reward", 3].kl_at_most == pytest.approx(np.log(3) - 2 / 3)
    assert sorted({one.n for one in found}) == [1, 2, 3]


@pytest.mark.slow
def test_the_interval_of_best_of_n_covers_as_often_as_it_says():
    """The largest of four normal numbers is 1.02938 in the mean (Harter 1961); a gold score that is half the proxy's
    and half noise gains half of that. Eight answers to each of 60 prompts, which differ in what they are worth."""
    random, proxy, gold = np.random.default_rng(4), 0, 0
    for _ in range(200):
        prompts, own = random.normal(size=(60, 1)), random.normal(size=(60, 8))
        rows = {"taste": (0.5 * own + prompts + random.normal(size=(60, 8))).tolist()}
        found = best_of([model("m", own.tolist(), **rows)], ["reward", "taste"], Intervals(0.95, 200, 0))
        of_four = {one.gold: one.score for one in found if one.n == 4}
        proxy += of_four["reward"].low <= 1.02938 <= of_four["reward"].high
        gold += of_four["taste"].low <= 0.51469 <= of_four["taste"].high
    # 200 draws of a 95 % interval: 3 standard deviations are 0.046
    assert 0.90 <= proxy / 200 <= 0.995
    assert 0.90 <= gold / 200 <= 0.995


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.95, 0.025, 0.975), (0.9, 0.05, 0.95), (0.5, 0.25, 0.75)])
def test_the_interval_of_a_rating_holds_the_share_that_it_says(confidence: float, low: float, high: float):
    results = drawn(np.random.default_rng(2), 40)
    found = ratings(results, ["a", "b", "c"], "reward", Intervals(confidence, 80, 5))
    # the bootstrap over prompts, one draw after the other
    random, drawings = np.random.default_rng(5), []
    for _ in range(80):
        chosen = random.integers(40, size=40)
        drawings.append(bradley_terry_ratings(np.nansum(results[chosen], axis=0), prior=1.0))
    for model, rating in enumerate(found):
        of_model = [draw[model] for draw in drawings]
        assert rating.rating.low == pytest.approx(np.quantile(of_model, low))
        assert rating.rating.high == pytest.approx(np.quantile(of_model, high))
        assert rating.prompts == 40


def test_one_prompt_has_a_win_rate_and_no_more():
    models = [model(name, [[score]]) for name, score in (("a", 0.0), ("b", 1.0), ("c", 1.0))]
    results = results_of_scores(models, "reward")
    wins = win_rates(results, ["a", "b", "c"], "a", "reward", DICE)
    assert [(win.model, win.wins, win.resampled) for win in wins] == [("b", 1, None), ("c", 1, None)]
    assert ratings(results, ["a", "b", "c"], "reward", DICE) == [], "one prompt has no interval"
    assert [rating.model for rating in ratings(np.concatenate([results] * 2), ["a", "b", "c"], "reward", DICE)] == [
        "a",
        "b",
        "c",
    ]


def test_a_model_that_never_met_the_baseline_has_no_win_rate():
    results = np.full((2, 3, 3), np.nan)
    results[0, 1, 0], results[0, 0, 1] = 1.0, 0.0
    (win,) = win_rates(results, ["a", "b", "c"], "a", "people", DICE)
    assert (win.model, win.prompts, win.by_order) == ("b", 1, {})


def test_ratings_are_resampled_300_times_at_most():
    results = drawn(np.random.default_rng(3), 20)
    few, many = (ratings(results, ["a", "b", "c"], "reward", Intervals(0.95, count, 1)) for count in (300, 2000))
    assert few == many != ratings(results, ["a", "b", "c"], "reward", Intervals(0.95, 100, 1))


def test_judgements_that_are_shown_in_no_order_or_name_no_model_count_as_far_as_they_can():
    nameless = Comparison(Prompt(text="p5"), Completion("x"), Completion("y", model="base"), 1.0)
    pairs = [judged(1, "new", "base", 0.75), judged(2, "new", "new", 1.0), nameless]
    found = results_of_people(pairs, {"base": 0, "new": 1, "path/of/new": 1}, 2)
    assert (found.others, found.by_order) == (2, {})
    assert found.results[:, 1, 0].tolist() == [1.0], "a soft judgement is a win all the same"
