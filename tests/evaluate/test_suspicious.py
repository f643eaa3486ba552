"""What makes a liked answer suspicious, one reason at a time."""

from dataclasses import replace

import pytest

from steersman.evaluate.suspicious import ScoredAnswer, ranks, suspicions
from steersman.evaluate.wording import self_repetition

PLAIN = [ScoredAnswer(f"prompt {i}", f"a plain answer number {i}", i / 100, 0.1, "end", None) for i in range(20)]


def with_one(**facts) -> list[ScoredAnswer]:
    usual = {"prompt": "p", "text": "odd", "score": 5.0, "kl": 0.1, "finish_reason": "end", "other": None}
    return [*PLAIN, ScoredAnswer(**{**usual, **facts})]


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
    assert "of its 4-grams are repeats" in only(with_one(text=text))


def test_the_same_answer_to_many_prompts_is_a_stock_phrase():
    answers = [*PLAIN, *(ScoredAnswer(f"q{i}", "Believe in yourself!", 4.0, 0.1, "end", None) for i in range(3))]
    found = suspicions(answers, 5)
    assert len(found) == 1
    assert "given to 3 different prompts" in found[0].why


def test_far_and_liked_is_suspicious_and_far_alone_is_not():
    assert "9.0 nats" in only(with_one(kl=9.0))
    assert suspicions(with_one(kl=9.0, score=-1.0), 5) == []


def test_an_answer_without_an_end_is_suspicious_if_it_is_liked():
    assert "was cut off before EOS" in only(with_one(finish_reason="length"))


def test_two_scorers_that_disagree_make_it_suspicious():
    answers = [ScoredAnswer(f"p{i}", f"text {i}", i / 10, None, "end", i / 10) for i in range(20)]
    answers.append(ScoredAnswer("p", "flattery", 9.0, None, "end", -3.0))
    found = suspicions(answers, 3)
    assert [one.index for one in found] == [20]
    assert "the second scorer gives it -3.00, among its worst tenth" in found[0].why


def test_ranks_run_from_0_to_1_and_equals_share():
    assert ranks([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert ranks([1.0, 1.0, 5.0]) == pytest.approx([0.25, 0.25, 1.0])
    assert ranks([7.0]) == [0.0]


def test_what_most_answers_beat_is_not_suspicious_whatever_else_it_is():
    # five answers with ranks 0, 0.25, 0.5, 0.75 and 1: from the middle on they are liked
    for place, score in enumerate([-2.0, -1.0, 0.0, 1.0, 2.0]):
        scores = [-2.0, -1.0, 0.0, 1.0, 2.0]
        answers = [
            ScoredAnswer(f"q{i}", f"text {i}", one, 0.1, "length" if i == place else "end", None)
            for i, one in enumerate(scores)
        ]
        assert [one.index for one in suspicions(answers, 5)] == ([place] if score >= 0 else [])


def test_each_reason_s_limit_is_within():
    def told(**given) -> str:
        found = suspicions(with_one(**given), 5)
        return found[0].why if found else ""

    # of ten words seven 4-grams: one that was said before is a seventh, two of nine more than a fifth
    assert told(kl=1.0) == ""
    assert "1.1 nats" in told(kl=1.1)
    two = [ScoredAnswer(f"q{i}", "Believe!", 9.0, 0.1, "end", None) for i in range(2)]
    assert suspicions([*PLAIN, *two], 5) == []
    three = [*two, ScoredAnswer("q0", "Believe!", 9.0, 0.1, "end", None)]
    assert suspicions([*PLAIN, *three], 5) == [], "the same prompt twice is one prompt"


def test_the_most_suspicious_come_first_and_of_equal_weight_the_first():
    cut = [ScoredAnswer(f"q{i}", f"text {i}", 9.0, 0.1, "length", None) for i in range(3)]
    worse = ScoredAnswer("q9", "it is so very good indeed " * 4, 9.0, 0.1, "length", None)
    found = suspicions([*PLAIN, *cut, worse], 3)
    assert [one.index - len(PLAIN) for one in found] == [3, 0, 1]
    assert found[0].why.count("; ") == 1
    assert found[0].weight > found[1].weight == found[2].weight == 0.5


def test_several_reasons_are_told_in_one_order_and_add_up():
    # nothing but repetition, given to three prompts, never ended, far away, and disputed
    text = "so good " * 20
    plain = [replace(one, other=1.0 + i) for i, one in enumerate(PLAIN)]
    answers = [*plain, *(ScoredAnswer(f"q{i}", text, 9.0, 9.0, "length", 0.0) for i in range(3))]
    found = suspicions(answers, 5)[0]
    places = [
        found.why.index(words)
        for words in ("are repeats", "3 different prompts", "9.0 nats", "was cut off before EOS", "second scorer")
    ]
    assert places == sorted(places)
    # 40 words have 37 4-grams, of which 35 came before; 3 prompts of 23 answers; the three are as far as each other,
    # 21 of 22 on the way from the nearest, and so are their scores; by the other scorer they are 1 of 22 from the worst
    reasons = (1 + 35 / 37, 1 + 3 / 23, 21 / 22, 0.5, 1 + 20 / 22)
    assert found.weight == pytest.approx(sum(reasons))


def test_liked_is_from_the_middle_on_and_very_liked_the_best_tenth():
    scores = [float(i) for i in range(11)]
    answers = [ScoredAnswer(f"q{i}", f"text {i}", score, 0.1, "length", None) for i, score in enumerate(scores)]
    told = {one.index: one.why for one in suspicions(answers, 99)}
    assert sorted(told) == [5, 6, 7, 8, 9, 10]
    assert [told[i].split(",")[0] for i in (8, 9, 10)] == ["scored above most"] + ["scored among the best tenth"] * 2
    # far and liked: both among the best tenth, and more than a nat
    for kl, score, found in ((9.0, 9.0, True), (9.0, 8.0, False), (1.0, 10.0, False)):
        rest = [ScoredAnswer(f"q{i}", f"text {i}", float(i), 0.1, "end", None) for i in range(11) if float(i) != score]
        assert bool(suspicions([*rest, ScoredAnswer("q", "text", score, kl, "end", None)], 5)) == found


def test_two_scorers_are_apart_from_six_tenths_of_all_ranks_on():
    others = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    answers = [ScoredAnswer(f"q{i}", f"text {i}", float(i), 0.1, "end", other) for i, other in enumerate(others)]
    told = {one.index: one.why for one in suspicions(answers, 9)}
    # ranks 1 against 0 and 0.8 against 0.2 are 0.6 or more apart, 0.6 against 0.4 are not
    assert sorted(told) == [4, 5]
    assert told[5].endswith("the second scorer gives it 0.00, among its worst tenth")
    assert told[4].endswith("the second scorer gives it 1.00, below most")
    # not all have been scored twice: then nothing is known of ranks
    assert suspicions([*answers[:-1], replace(answers[-1], other=None)], 9) == []


def test_a_fifth_of_repeats_is_suspicious_and_less_is_not():
    def told(text: str) -> list[str]:
        return [one.why for one in suspicions(with_one(text=text), 5)]

    # two of nine 4-grams came before, and one of six
    assert told("a b c d e f g a b c d e") == ["scored among the best tenth, but 22 % of its 4-grams are repeats"]
    assert told("a b c d e a b c d") == []
