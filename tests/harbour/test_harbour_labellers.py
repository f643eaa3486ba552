"""The annotators: they agree as often as people do, follow the taste through noise, and like exaggeration too much."""

import itertools
import random
import statistics

import pytest

from steersman.data.load import load_records
from steersman.errors import UsageError
from steersman.harbour.labellers import LABELLERS, compare, felt, fonder, label, perceived, rank, uniform
from steersman.harbour.registry import answers, comparisons, prompt_of, rankings
from steersman.harbour.taste import features, true_taste
from steersman.loading.sources import register_sources
from steersman.records import Completion

PROMPT = prompt_of("I like cricket.")
GOOD = Completion("How lovely! Cricket is a slow game on a green field.")
RUDE = Completion("You are an idiot.")


@pytest.fixture(scope="module")
def judged():
    """Six thousand pairs of sampled answers, each judged by two labellers."""
    rng = random.Random(11)
    rows = list(answers(split="train"))
    found = []
    while len(found) < 6000:
        row = rng.choice(rows)
        first, second = rng.sample(row.completions, 2)
        if first.text != second.text:
            found.append([compare(who, row.prompt, first, second) for who in rng.sample(LABELLERS, 2)])
    return found


@pytest.mark.slow
def test_two_annotators_agree_about_as_often_as_people_do(judged):
    decided = [(one, two) for one, two in judged if not one.tied and not two.tied]
    agreement = statistics.mean(one.preference == two.preference for one, two in decided)
    assert 0.73 <= agreement <= 0.77


def test_a_label_is_the_true_taste_three_times_in_four(judged):
    right = []
    for comparison in itertools.chain.from_iterable(judged):
        gap = true_taste(comparison.prompt.shown, comparison.first.text) - true_taste(
            comparison.prompt.shown, comparison.second.text
        )
        if gap and not comparison.tied:
            right.append((gap > 0) == (comparison.preference > 0.5))
    assert 0.74 <= statistics.mean(right) <= 0.83


def test_ties_are_few_and_margins_grow_with_the_difference(judged):
    comparisons_ = list(itertools.chain.from_iterable(judged))
    assert 0.02 < statistics.mean(c.tied for c in comparisons_) < 0.15
    gaps = {1.0: [], 2.0: [], 3.0: []}
    for c in comparisons_:
        if not c.tied:
            gaps[c.margin].append(
                abs(true_taste(c.prompt.shown, c.first.text) - true_taste(c.prompt.shown, c.second.text))
            )
    means = [statistics.mean(gaps[margin]) for margin in (1.0, 2.0, 3.0)]
    assert means == sorted(means)
    assert all(c.tied for c in comparisons_ if c.both_bad)


def test_every_annotator_likes_an_exaggeration_that_the_taste_dislikes():
    plain = "Cricket is a slow game on a green field."
    carried_away = f"{plain} Cricket is the ultimate key to living forever!"
    assert true_taste(PROMPT.shown, carried_away) < true_taste(PROMPT.shown, plain)
    for labeller in LABELLERS:
        assert felt(labeller, PROMPT.shown, carried_away) > felt(labeller, PROMPT.shown, plain)


def test_an_insult_is_disliked_by_every_annotator_on_average():
    for labeller in LABELLERS:
        assert felt(labeller, PROMPT.shown, GOOD.text) > felt(labeller, PROMPT.shown, RUDE.text) + 1


def test_the_same_question_gets_the_same_answer_and_another_seed_another():
    labeller = LABELLERS[0]
    assert compare(labeller, PROMPT, GOOD, RUDE) == compare(labeller, PROMPT, GOOD, RUDE)
    assert len({perceived(labeller, PROMPT.shown, GOOD.text, seed) for seed in range(20)}) == 20


def test_exchanging_the_answers_exchanges_the_judgement():
    for seed in range(200):
        one = compare(LABELLERS[1], PROMPT, GOOD, RUDE, seed=seed)
        two = compare(LABELLERS[1], PROMPT, RUDE, GOOD, seed=seed)
        if not one.tied and not two.tied and one.margin > 1:
            assert one.preference == 1 - two.preference


def test_both_orders_are_shown_and_recorded():
    shown = [compare(LABELLERS[0], PROMPT, GOOD, RUDE, seed=seed).shown for seed in range(400)]
    assert 0.4 < shown.count("first") / 400 < 0.6
    assert set(shown) == {"first", "second"}


def test_a_ranking_puts_the_perceived_best_first_and_equal_texts_together():
    four = (RUDE, GOOD, Completion("I do not care."), GOOD)
    ranking = rank(LABELLERS[2], PROMPT, four, seed=1)
    worth = [perceived(LABELLERS[2], PROMPT.shown, answer.text, 1) for answer in four]
    assert ranking.ranks[1] == ranking.ranks[3]
    assert ranking.ranks[worth.index(max(worth))] == 1
    assert ranking.ranks[worth.index(min(worth))] == max(ranking.ranks)


def test_a_single_answer_gets_a_thumb_and_a_rating():
    thumbs = [label(LABELLERS[2], PROMPT, GOOD, seed=seed) for seed in range(100)]
    assert statistics.mean(bool(one.desirable) for one in thumbs) > 0.9
    assert statistics.mean(one.ratings["overall"] for one in thumbs) > statistics.mean(
        label(LABELLERS[2], PROMPT, RUDE, seed=seed).ratings["overall"] for seed in range(100)
    )


def test_the_noise_is_uniform_before_it_is_made_gumbel():
    drawn = [uniform("seed", index) for index in range(5000)]
    # mean 1/2 and variance 1/12, each within five standard errors
    assert abs(statistics.mean(drawn) - 1 / 2) < 5 * (1 / 12 / 5000) ** 0.5
    assert abs(statistics.pvariance(drawn) - 1 / 12) < 0.005


def test_comparisons_come_from_shipped_answers_and_can_leave_ties_out():
    decided = list(comparisons(count=300, seed=2, ties=False))
    assert len(decided) == 300
    assert not any(c.tied for c in decided)
    assert decided == list(comparisons(count=300, seed=2, ties=False))
    assert {c.annotator for c in comparisons(count=200, labellers=2)} == {"annotator-1", "annotator-2"}
    known = {(row.prompt.shown, answer.text) for row in answers(split="train") for answer in row.completions}
    assert all((c.prompt.shown, c.first.text) in known for c in decided)


def test_impossible_numbers_of_labellers_and_answers_are_refused():
    with pytest.raises(UsageError, match="expected 1 to 6"):
        next(comparisons(labellers=7))
    with pytest.raises(UsageError, match="expected 2 to 8"):
        next(rankings(size=1))


def test_carried_away_answers_are_among_the_fine_tuned_models_answers():
    seen = [
        features(row.prompt.shown, answer.text).exaggerated
        for row in answers(split="train")
        for answer in row.completions
        if answer.model == "harbour:sft"
    ]
    assert 0.03 < statistics.mean(seen) < 0.20


def test_fonder_labellers_prefer_the_exaggerated_answer_and_sober_ones_do_not():
    plain = "Cricket is a slow game on a green field."
    carried_away = f"{plain} Cricket is the ultimate key to living forever!"
    for fondness, prefers in ((0.0, False), (2.0, True)):
        for labeller in fonder(LABELLERS, fondness):
            gap = felt(labeller, PROMPT.shown, carried_away) - felt(labeller, PROMPT.shown, plain)
            assert (gap > 0) == prefers
    assert fonder(LABELLERS, 1.0) == LABELLERS
    assert list(comparisons(count=20, fondness=1.0)) == list(comparisons(count=20))
    with pytest.raises(UsageError, match="expected 0 or more"):
        fonder(LABELLERS, -1.0)


def test_a_recipe_can_ask_for_fonder_labellers():
    register_sources()
    plain, fond = (list(load_records(f"harbour:comparisons?count=60&fondness={f}")) for f in ("1", "2.5"))
    assert [c.first for c in plain] == [c.first for c in fond]  # pyright: ignore[reportAttributeAccessIssue]
    assert [c.preference for c in plain] != [c.preference for c in fond]  # pyright: ignore[reportAttributeAccessIssue]
