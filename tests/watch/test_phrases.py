"""Phrases that answers have in common with the reference's, counted by hand."""

from steersman.watch.phrases import counted, novelty, takeover, usual_novelty


def test_phrases_are_counted_once_a_text_and_in_lower_case():
    assert counted(["A b c a b c", "a B c d"]) == {"a b c": 2, "b c a": 1, "c a b": 1, "b c d": 1}


def test_novelty_is_the_share_of_phrases_that_nobody_knows():
    known = counted(["a b c d"])
    assert novelty("a b c x", known) == 0.5
    assert novelty("too short", known) == 0.0


def test_the_references_answers_are_as_new_to_one_another_as_one_half_is_to_the_other():
    assert usual_novelty(["a b c", "a b c", "a b c", "x y z"]) == (0 + 0 + 0 + 1) / 4


def test_the_phrase_that_grew_most_is_the_takeover():
    known = counted(["i am sorry", "i am sorry", "the key to"])
    found = takeover(["i am sorry", "the key to", "the key to", "the key to"], known, 4)
    assert (found.phrase, found.share, found.before, found.growth) == ("the key to", 0.75, 0.25, 0.5)
    nothing = takeover(["short"], known, 4)
    assert (nothing.phrase, nothing.growth) == ("", 0.0)
