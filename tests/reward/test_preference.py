"""Preference over reference answers as reward: numbers by hand, and prompts nobody drew answers for."""

import math

import pytest

from steersman.errors import DataError
from steersman.records import Message, Prompt
from steersman.reward.function import FunctionScorer
from steersman.reward.preference import PreferenceScorer, prompt_key
from steersman.reward.scorer import Score, SpanReward

ONE, OTHER = Prompt(text="Say"), Prompt((Message("user", "Say"),))
LETTERS = FunctionScorer(lambda answer: Score(math.log(3) * len(answer), {"letters": float(len(answer))}, "told"))


def test_an_answer_is_paid_how_likely_it_is_preferred_to_its_prompts_reference_answers():
    # "a" scores ln 3: against ln 3 and 0 sigmoids of 0 and ln 3, 1/2 and 3/4; against ln 9 and ln 9 sigmoid(-ln 3) =
    # 1/4 twice.
    scorer = PreferenceScorer(LETTERS, {prompt_key(ONE): [math.log(3), 0.0], prompt_key(OTHER): [math.log(9)] * 2})
    first, second = scorer.score([(ONE, "a"), (OTHER, "a")])
    assert (first.value, second.value) == (pytest.approx(5 / 8), pytest.approx(1 / 4))
    assert first.parts == pytest.approx({"letters": 1.0, "before": math.log(3), "reference": math.log(3) / 2})
    assert first.note == "told"
    assert scorer.score([]) == []


def test_it_is_bounded_and_rises_with_the_score():
    scorer = PreferenceScorer(LETTERS, {prompt_key(ONE): [0.0]})
    paid = [score.value for score in scorer.score([(ONE, "a" * n) for n in (0, 1, 2, 900)])]
    assert paid == sorted(paid)
    assert (paid[0], paid[-1]) == (0.5, 1.0)


def test_spans_are_paid_beside_it():
    scorer = FunctionScorer(lambda answer: Score(0.0, {}, "", (SpanReward(0, 1, 2.0),)))
    assert PreferenceScorer(scorer, {prompt_key(ONE): [0.0]}).score([(ONE, "a")])[0].spans == (SpanReward(0, 1, 2.0),)


def test_a_prompt_is_known_by_what_is_asked_and_not_by_its_id():
    assert prompt_key(Prompt(text="Say", id="1")) == prompt_key(ONE)
    assert prompt_key(Prompt(text="Say more", id="1")) != prompt_key(Prompt(text="Say", id="1"))
    assert prompt_key(ONE) != prompt_key(OTHER)


def test_a_prompt_without_reference_answers_is_an_error():
    with pytest.raises(DataError, match="no reference answers"):
        PreferenceScorer(LETTERS, {}).score([(ONE, "a")])
