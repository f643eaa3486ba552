"""What answers earn: scores as they are, judgements from -1 to 1, and stretches of an answer where they end."""

from collections import Counter

import pytest

from steersman.errors import DataError
from steersman.models.tiny import tiny_tokeniser
from steersman.records import (
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Label,
    Message,
    Prompt,
    Ranking,
    SpanReward,
    Steps,
    from_dict,
    to_dict,
)
from steersman.reward.rows import score_row
from steersman.text.tokeniser import decode
from steersman.training_data.rewarded import Earned, earned, paid_within

ASKED = Prompt((Message("user", "Tell me."),))


def told(*records, reward: str | None = None) -> tuple[list[tuple[str, float]], Counter[str]]:
    left_out: Counter[str] = Counter()
    return [(one.completion.text, one.reward) for one in earned(records, reward=reward, left_out=left_out)], left_out


def test_people_give_from_minus_one_to_one():
    a, b, c = (Completion(text) for text in "abc")
    assert told(Comparison(ASKED, a, b, 1.0))[0] == [("a", 1.0), ("b", -1.0)]
    assert told(Comparison(ASKED, a, b, 0.25))[0] == [("a", -0.5), ("b", 0.5)]
    assert told(Comparison(ASKED, a, b, 0.5))[0] == [("a", 0.0), ("b", 0.0)]
    # of two others a beats both, b and c tie and lose to a: (2 - 0) / 2, (0 - 1) / 2, (0 - 1) / 2
    assert told(Ranking(ASKED, (a, b, c), (1, 2, 2)))[0] == [("a", 1.0), ("b", -0.5), ("c", -0.5)]
    assert told(Label(ASKED, a, True), Label(ASKED, b, False))[0] == [("a", 1.0), ("b", -1.0)]
    assert told(Label(ASKED, a, ratings={"helpful": 3.5}))[0] == [("a", 3.5)]


def test_scores_are_taken_as_they_are():
    a = Completion("a", scores={"taste": 0.4, "taste/part": 9.0})
    b = Completion("b", scores={"taste": -2.0})
    assert told(Answers(ASKED, (a, b)))[0] == [("a", 0.4), ("b", -2.0)]
    assert told(Demonstration(ASKED, a), reward="taste/part")[0] == [("a", 9.0)]
    # by name also where somebody judged
    assert told(Comparison(ASKED, a, b, 0.0), reward="taste")[0] == [("a", 0.4), ("b", -2.0)]
    assert told(Label(ASKED, a, ratings={"help": 2.0, "harm": 1.0}), reward="harm")[0] == [("a", 1.0)]


def test_what_earned_nothing_is_left_out_and_said():
    plain = Completion("a")
    several = Completion("a", scores={"taste": 1.0, "length": 2.0})
    found, left_out = told(Answers(ASKED, (plain,)), Label(ASKED, plain), ASKED)
    assert found == []
    assert sorted(left_out) == [
        f"a record of the kind {kind} without a reward" for kind in ("answers", "label", "prompt")
    ]
    assert list(told(Answers(ASKED, (several,)), reward="tastes")[1]) == [
        "a record of the kind answers without the score 'tastes'"
    ]
    with pytest.raises(DataError, match="say which, such as reward=taste"):
        told(Answers(ASKED, (several,)))


def paid(text: str, *spans: SpanReward, max_length: int = 200) -> list[tuple[str, float]]:
    """Tokens that end a rewarded stretch, with what they were paid."""
    tokeniser = tiny_tokeniser()
    one = Earned(ASKED, Completion(text, spans=spans), 0.0)
    row = score_row(tokeniser, one.prompt, one.completion, max_length=max_length)
    ids = row.ids[row.prompt_length :]
    found = paid_within(tokeniser, ids, one)
    assert len(found) == len(ids) == row.targets
    return [(decode(tokeniser, ids[: i + 1]), reward) for i, reward in enumerate(found) if reward]


def test_a_stretch_is_paid_at_the_token_in_which_it_ends():
    text = "A dog is a good friend."
    found = paid(text, SpanReward(0, 5, 0.5), SpanReward(6, 23, -1.0))
    assert [reward for _, reward in found] == [0.5, -1.0]
    assert [text[:5] in words and len(words) < 10 for words, _ in found] == [True, False]
    assert found[1][0].strip() == text
    # an answer that was cut before the second stretch begins
    assert [reward for _, reward in paid(text, SpanReward(0, 5, 0.5), SpanReward(18, 23, -1.0), max_length=9)] == [0.5]


def test_steps_are_worth_one_or_minus_one_where_they_end():
    (one,) = earned([Steps(ASKED, ("A dog.", "A good friend."), (True, False))], reward=None, left_out=Counter())
    assert one.completion.text == "A dog.\nA good friend."
    assert one.spans == (SpanReward(0, 6, 1.0), SpanReward(7, 21, -1.0))
    assert one.reward == 0.0
    found = paid(one.completion.text, *one.spans)
    assert [(words.strip(), reward) for words, reward in found] == [("A dog.", 1.0), ("A dog.\nA good friend.", -1.0)]


def test_rewards_within_an_answer_survive_a_file():
    row = Answers(ASKED, (Completion("a b", scores={"s": 1.0}, spans=(SpanReward(0, 1, 0.5),)), Completion("c")))
    assert from_dict(to_dict(row)) == row
    assert "spans" not in to_dict(row)["completions"][1]
