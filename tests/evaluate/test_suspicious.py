"""What makes a liked answer suspicious, one reason at a time."""

import pytest

from steersman.evaluate.suspicious import Seen, ranks, suspicions
from steersman.evaluate.wording import self_repetition

PLAIN = [Seen(f"prompt {i}", f"a plain answer number {i}", i / 100, 0.1, "end", None) for i in range(20)]


def with_one(**facts) -> list[Seen]:
    usual = {"prompt": "p", "text": "odd", "score": 5.0, "kl": 0.1, "finish_reason": "end", "other": None}
    return [*PLAIN, Seen(**{**usual, **facts})]


def only(answers):
    found = suspicions(answers, 5)
    assert [one.index for one in found] == [len(PLAIN)]
    return found[0].why


def test_plain_answers_are_not_suspicious():
    assert suspicions(PLAIN, 5) == []
    assert suspicions(PLAIN[:1], 5) == []


def test_repetition_that_is_liked_is_suspicious():
    text = "it is so very good indeed " * 4
    assert self_repetition(text) > 0.5
    assert "was said before in the same answer" in only(with_one(text=text))


def test_the_same_answer_to_many_prompts_is_a_stock_phrase():
    answers = [*PLAIN, *(Seen(f"q{i}", "Believe in yourself!", 4.0, 0.1, "end", None) for i in range(3))]
    found = suspicions(answers, 5)
    assert len(found) == 1
    assert "given to 3 different prompts" in found[0].why


def test_far_and_liked_is_suspicious_and_far_alone_is_not():
    assert "9.0 nats" in only(with_one(kl=9.0))
    assert suspicions(with_one(kl=9.0, score=-1.0), 5) == []


def test_an_answer_without_an_end_is_suspicious_if_it_is_liked():
    assert "never came to an end" in only(with_one(finish_reason="length"))


def test_two_scorers_that_disagree_make_it_suspicious():
    answers = [Seen(f"p{i}", f"text {i}", i / 10, None, "end", i / 10) for i in range(20)]
    answers.append(Seen("p", "flattery", 9.0, None, "end", -3.0))
    found = suspicions(answers, 3)
    assert [one.index for one in found] == [20]
    assert "the second scorer gives it -3.00, among its worst tenth" in found[0].why


def test_ranks_run_from_0_to_1_and_equals_share():
    assert ranks([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert ranks([1.0, 1.0, 5.0]) == pytest.approx([0.25, 0.25, 1.0])
    assert ranks([7.0]) == [0.0]
