"""Stop strings, found in the decoded text as it grows, also across token boundaries and letters of several tokens.

The ids of a stopped sample stay as they were sampled, since they are trained on; the text is cut before the stop
string. Control tokens count as text here, so that a stop string may contain one.
"""

from collections.abc import Sequence

from steersman.rollout.batch import Rollout
from steersman.text.tokeniser import Tokeniser, decode

_UNFINISHED = "\ufffd"


class StopStrings:
    """Detects whether the newest token completed one of the strings."""

    def __init__(self, tokeniser: Tokeniser, strings: Sequence[str]) -> None:
        self.tokeniser = tokeniser
        self.strings = tuple(strings)
        # Every token adds at least one byte, and a letter has at most four. A few more tokens, since the first ones of
        # a window may decode differently than in context.
        self.window = 4 * max(len(text) for text in self.strings) + 8
        self.last_letters = {text[-1] for text in self.strings}
        self._may_end: dict[int, bool] = {}

    def may_end(self, token: int) -> bool:
        """Whether a string could end in this token: a cheap test that avoids decoding after most tokens."""
        known = self._may_end.get(token)
        if known is None:
            text = self._text([token])
            # Decoding a single token may lose a space at its edge; a partial letter appears with its last token only.
            known = _UNFINISHED in text or not self.last_letters.isdisjoint(text)
            known = known or any(letter.isspace() for letter in self.last_letters) or not text
            self._may_end[token] = known
        return known

    def found(self, ids: Sequence[int]) -> bool:
        """Whether a string ends inside the last of these ids."""
        if not self.may_end(ids[-1]):
            return False
        recent = list(ids[-self.window :])
        text = self._text(recent)
        if not any(string in text for string in self.strings):
            return False
        return _first_new(text, self._text(recent[:-1]), self.strings) is not None

    def _text(self, ids: list[int]) -> str:
        return self.tokeniser.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _first_new(text: str, before: str, strings: Sequence[str]) -> int | None:
    """The position of the first string that ends in the text beyond `before`."""
    old = len(before.rstrip(_UNFINISHED))
    starts = [text.find(string, max(0, old - len(string) + 1)) for string in strings]
    return min((start for start in starts if start >= 0), default=None)


def answer_text(tokeniser: Tokeniser, rollout: Rollout, stop: Sequence[str] = ()) -> str:
    """The answer as text for people and scorers: without control tokens, and cut before the stop string that ended
    it."""
    return text_of_ids(tokeniser, rollout.ids, stop if rollout.finish_reason == "stop" else ())


def text_of_ids(tokeniser: Tokeniser, ids: Sequence[int], stop: Sequence[str]) -> str:
    """The text of an answer's ids, cut before the stop string that its last token completed, if one did."""
    text = decode(tokeniser, ids)
    start = _first_new(text, decode(tokeniser, ids[:-1]), stop) if stop else None
    return text if start is None else text[:start]
