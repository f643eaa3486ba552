"""What a judge's probabilities say: worked examples, and what must hold for any numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.judgement import (
    better_grade,
    clamped,
    ensemble,
    exclusive_log_probs,
    expected_grade,
    knockout,
    normalised,
    over_both_orders,
    scaled_grade,
    strengths,
    win_rates,
)

SHARE = st.floats(0, 1)


def test_two_choices_share_their_probability():
    # The letters have 0.3 and 0.1 of all tokens: 0.3 / 0.4 and 0.1 / 0.4.
    assert normalised([math.log(0.3), math.log(0.1)]) == pytest.approx([0.75, 0.25])


def test_a_choice_without_probability_loses_and_none_at_all_is_an_error():
    assert normalised([-2.0, -math.inf]) == [1.0, 0.0]
    with pytest.raises(ValueError, match="no choice possible"):
        normalised([-math.inf, -math.inf])


def test_tiny_probabilities_do_not_underflow():
    assert normalised([-2000.0, -2000.0 + math.log(3)]) == pytest.approx([0.25, 0.75])


def test_a_grade_of_two_tokens_is_taken_off_the_grade_that_begins_it():
    # "1" has 0.5, and after it "0" has 0.2: so the grade 10 has 0.1 and the grade 1 has 0.4.
    found = exclusive_log_probs([[1], [2], [1, 0]], [math.log(0.5), math.log(0.3), math.log(0.1)])
    assert [math.exp(value) for value in found] == pytest.approx([0.4, 0.3, 0.1])


def test_a_grade_that_only_begins_another_has_nothing_left():
    assert exclusive_log_probs([[1], [1, 0]], [-1.0, -1.0]) == [-math.inf, -1.0]


def test_both_orders_cancel_a_preference_for_the_first_place():
    # Shown first the answer gets 0.9, shown second its rival gets 0.5: (0.9 + (1 - 0.5)) / 2 = 0.7.
    assert over_both_orders(0.9, 0.5) == pytest.approx(0.7)
    # A judge that always says 0.8 to the first place knows nothing of the answers.
    assert over_both_orders(0.8, 0.8) == 0.5


@given(SHARE, SHARE)
def test_swapping_the_answers_gives_exactly_one_minus_p(one, other):
    assert over_both_orders(other, one) == 1 - over_both_orders(one, other)


def test_reasoning_is_clamped():
    assert [clamped(p) for p in (0.0, 0.45, 0.99)] == [0.4, 0.45, 0.6]


def test_principles_are_averaged_in_log_odds():
    # (3 * log 9 - log 9) / 4 = log 3, whose probability is 3 / 4
    assert ensemble([0.9, 0.1], [3.0, 1.0]) == pytest.approx(0.75)
    # undecided principles leave a decided one's side as it is: log(9) / 3 is above 0.1 of probability
    assert ensemble([0.9, 0.5, 0.5], [1.0] * 3) == pytest.approx(1 / (1 + 9 ** (-1 / 3)))
    with pytest.raises(ValueError, match="one weight each"):
        ensemble([0.9], [0.0])


def test_one_certain_principle_does_not_outweigh_all_others():
    # certainty counts as 0.99: log 99 against four times log 4
    assert ensemble([1.0, 0.2, 0.2, 0.2, 0.2], [1.0] * 5) == ensemble([0.99, 0.2, 0.2, 0.2, 0.2], [1.0] * 5) < 0.5
    assert ensemble([1.0], [1.0]) == 1.0


def test_principles_may_be_averaged_in_probabilities():
    # (3 * 0.9 + 1 * 0.1) / 4 = 0.7
    assert ensemble([0.9, 0.1], [3.0, 1.0], pool="probability") == pytest.approx(0.7)


@pytest.mark.parametrize("pool", ["log_odds", "probability"])
@given(drawn=st.lists(st.tuples(st.floats(0, 0.99), st.floats(0.1, 10)), min_size=1, max_size=6))
def test_the_mean_of_complements_is_the_complement_of_the_mean(pool, drawn):
    shares, weights = zip(*drawn, strict=True)
    complements = ensemble([1 - p for p in shares], weights, pool=pool)
    assert complements == pytest.approx(1 - ensemble(shares, weights, pool=pool), abs=1e-12)
    held = [min(max(p, 0.01), 0.99) if pool == "log_odds" and len(shares) > 1 else p for p in shares]
    assert min(held) - 1e-12 <= ensemble(shares, weights, pool=pool) <= max(held) + 1e-12


def test_a_rating_is_the_expected_grade_on_a_scale_from_minus_one_to_one():
    # 0.5 * 8 + 0.25 * 9 + 0.25 * 10 = 8.75, and 2 * (8.75 - 1) / 9 - 1 = 0.7222…
    grades = [0.0] * 7 + [0.5, 0.25, 0.25]
    assert expected_grade(grades) == pytest.approx(8.75)
    assert scaled_grade(8.75, 10) == pytest.approx(13 / 18)
    assert (scaled_grade(1.0, 10), scaled_grade(10.0, 10)) == (-1.0, 1.0)


def test_the_better_grade_by_two_distributions():
    # Yes with 0.8 against yes with 0.3: 0.8 * 0.7 wins, and half of 0.8 * 0.3 + 0.2 * 0.7 ties: 0.56 + 0.19 = 0.75.
    assert better_grade([0.2, 0.8], [0.7, 0.3]) == pytest.approx(0.75)
    # one half plus half the difference of yes
    assert better_grade([0.2, 0.8], [0.7, 0.3]) == pytest.approx(0.5 + (0.8 - 0.3) / 2)
    with pytest.raises(ValueError, match="same number"):
        better_grade([1.0], [0.5, 0.5])


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=10), st.data())
def test_swapped_grades_give_exactly_one_minus_p(first, data):
    second = data.draw(st.lists(st.floats(0.01, 1), min_size=len(first), max_size=len(first)))
    one, other = [p / sum(first) for p in first], [p / sum(second) for p in second]
    assert better_grade(other, one) == 1 - better_grade(one, other)


def test_scores_of_three_answers_are_their_mean_preferences():
    # a beats b with 0.8 and c with 0.6; b beats c with 0.5. a: 0.7, b: (0.2 + 0.5) / 2, c: (0.4 + 0.5) / 2.
    found = {(0, 1): 0.8, (0, 2): 0.6, (1, 2): 0.5}
    assert win_rates(found, 3) == pytest.approx([0.7, 0.35, 0.45])
    assert win_rates({}, 2) == [0.5, 0.5]


def test_strengths_follow_comparisons_that_were_never_made():
    # a beat b, b beat c; a and c never met. The Bradley-Terry strengths still put a above c.
    found = strengths({(0, 1): 0.9, (1, 2): 0.9}, 3)
    assert found[0] > found[1] > found[2]
    assert sum(found) == pytest.approx(0.0, abs=1e-9)


def test_a_knockout_pairs_neighbours():
    assert knockout([3, 1, 2, 0, 4]) == [(3, 1), (2, 0)]
    assert knockout([1]) == []
