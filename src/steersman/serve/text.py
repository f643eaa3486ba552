"""The text of an answer as its tokens come: whole letters, and nothing that may be the beginning of a stop string."""

from collections.abc import Sequence
from typing import Any

from steersman.rollout.stops import text_of_ids
from steersman.text.tokeniser import decode

_UNFINISHED = "\ufffd"


class GrowingText:
    """Decodes ids as they come. What `add` and `finish` return, joined, is the text of the whole answer."""

    def __init__(self, tokeniser: Any, stop: Sequence[str]) -> None:
        self._tokeniser, self._stop = tokeniser, tuple(stop)
        self._ids: list[int] = []
        # Ids before `_from` are decoded no more. Those from there to `_read` are known as text, and only the context
        # of the next ones: some decoders change the first token of a text.
        self._from = self._read = 0
        self._held = ""
        self._longest = max((len(one) for one in self._stop), default=0)
        self.sent = ""

    def add(self, ids: Sequence[int]) -> str:
        """The text that is certain after these ids."""
        self._ids += ids
        known = decode(self._tokeniser, self._ids[self._from : self._read])
        whole = decode(self._tokeniser, self._ids[self._from :])
        if len(whole) <= len(known) or whole.endswith(_UNFINISHED):
            return ""
        self._from, self._read = self._read, len(self._ids)
        return self._certain(whole[len(known) :])

    def _certain(self, new: str) -> str:
        text = self._held + new
        hold = next((n for n in range(min(self._longest - 1, len(text)), 0, -1) if self._may_begin(text[-n:])), 0)
        certain, self._held = text[: len(text) - hold], text[len(text) - hold :]
        self.sent += certain
        return certain

    def _may_begin(self, ending: str) -> bool:
        return any(one.startswith(ending) for one in self._stop)

    def finish(self, *, stopped: bool) -> str:
        """The rest of the text. With `stopped` the last token completed a stop string or was a stop token."""
        whole = text_of_ids(self._tokeniser, self._ids, self._stop if stopped else ())
        rest = whole[len(self.sent) :]
        self.sent = whole
        return rest
