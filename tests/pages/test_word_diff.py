"""Differences between two answers, word by word."""

from hypothesis import given
from hypothesis import strategies as st

from steersman.pages.word_diff import LONGEST, Stretch, differences


def test_what_only_one_answer_says_is_marked():
    before, after = differences("It improves health and mood.", "It is the ultimate key to health and mood.")
    assert before == (Stretch("It ", False), Stretch("improves", True), Stretch(" health and mood.", False))
    assert after == (
        Stretch("It ", False),
        Stretch("is the ultimate key to", True),
        Stretch(" health and mood.", False),
    )


def test_equal_answers_have_no_mark_and_nothing_is_nothing():
    assert differences("Just so.", "Just so.") == ((Stretch("Just so.", False),), (Stretch("Just so.", False),))
    assert differences("", "a") == ((), (Stretch("a", True),))


def test_answers_too_long_to_compare_are_marked_whole():
    long = "a b " * LONGEST
    assert differences(long, "a") == ((Stretch(long, True),), (Stretch("a", True),))


@given(st.text(alphabet="ab .\n", max_size=40), st.text(alphabet="ab .\n", max_size=40))
def test_the_stretches_are_the_texts_and_what_is_shared_is_equal(one, other):
    left, right = differences(one, other)
    assert "".join(stretch.text for stretch in left) == one
    assert "".join(stretch.text for stretch in right) == other
    shared = ["".join("".join(s.text for s in side if not s.own).split()) for side in (left, right)]
    assert shared[0] == shared[1]
