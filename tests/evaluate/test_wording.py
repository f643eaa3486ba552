"""What words alone tell, worked by hand."""

import pytest

from steersman.evaluate.wording import distinct, malformed, ngrams, self_repetition


def test_distinct_counts_over_all_texts_together():
    # a b a | b c: 5 words of which 3 differ; the pairs ab ba bc: all 3 differ, and the text of one word has none
    assert distinct(["a b A", "b c"], 1) == pytest.approx(3 / 5)
    assert distinct(["a b a b", "a"], 2) == pytest.approx(2 / 3)
    assert distinct(["", "word"], 2) == 1.0


def test_self_repetition_is_the_share_of_ngrams_that_came_before():
    # 8 words, 5 four-grams: abcd bcda cdab dabc abcd, of which the last came before
    assert ngrams("a b c d", 4) == [("a", "b", "c", "d")]
    assert self_repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert self_repetition("a b c") == 0.0


def test_what_is_no_text_is_malformed():
    assert [malformed(text) for text in ("", "  \n", "half \ufffd", "bell \x07")] == [True] * 4
    assert not malformed("Dürfte ich?\n\tJa.")
