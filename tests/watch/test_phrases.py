"""Phrases that answers have in common with the reference's, counted by hand."""

from steersman.watch.phrases import Vocabulary, counted, novelty, takeover


def test_phrases_are_counted_once_a_text_and_in_lower_case():
    assert counted(["A b c a b c", "a B c d"]) == {"a b c": 2, "b c a": 1, "c a b": 1, "b c d": 1}


def test_novelty_is_the_share_of_pairs_that_nobody_knows():
    assert novelty("a b x", {"a b", "b c"}) == 0.5
    assert novelty("short", {"a b"}) == 0.0


def test_every_second_text_is_known_and_the_others_tell_how_new_is_usual():
    found = Vocabulary.of(["a b c", "a b c", "b c d", "a b x y"])
    assert list(found.pairs) == ["a b", "b c", "c d"]
    # nothing of the second is new; of the last, "b x" and "x y" of three pairs
    assert found.usual == (0 + 2 / 3) / 2
    assert Vocabulary.of(["a b"]).usual == 0.0


def test_the_phrase_that_grew_most_is_the_takeover():
    known = counted(["i am sorry", "i am sorry", "the key to"])
    found = takeover(["i am sorry", "the key to", "the key to", "the key to"], known, 4)
    assert (found.phrase, found.share, found.before, found.growth) == ("the key to", 0.75, 0.25, 0.5)
    nothing = takeover(["short"], known, 4)
    assert (nothing.phrase, nothing.growth) == ("", 0.0)
