"""Decoder from terminal bytes to keys: a character is itself, other keys have names ("up", "ctrl-s", "paste\\n…").

Pure. It does not matter how the bytes are split: over ssh an arrow key may arrive in two pieces.
"""

import codecs
import re

from steersman.judging.editor import PASTE

_NAMED = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "Z": "back-tab",
    "1~": "home",
    "3~": "delete",
    "4~": "end",
    "5~": "page-up",
    "6~": "page-down",
    "7~": "home",
    "8~": "end",
}
_SEQUENCE = re.compile("\x1b(?:\\[([0-?]*)[ -/]*([@-~])|O([ -~]))")
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|O)?\\Z")
_PASTE_BEGINS, _PASTE_ENDS = "\x1b[200~", "\x1b[201~"


class KeyDecoder:
    """Incremental decoder; it keeps bytes that are not yet a complete key."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._escaped = False

    @property
    def waiting(self) -> bool:
        """Whether a partial key is pending: more bytes may complete it, or it was the Escape key."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[str]:
        """The keys that these bytes complete."""
        text = self._decoder.decode(data)
        if self._escaped and text:
            # The rest of a sequence came too late. Without its Escape an arrow key would be read as "[" and "A".
            self._escaped = False
            self._held = "\x1b" if text[0] in "[O" else ""
        self._held += text
        keys = []
        while self._held:
            key, used = _first_key(self._held)
            if not used:
                break
            self._held = self._held[used:]
            if key:
                keys.append(key)
        return keys

    def flush(self) -> list[str]:
        """The keys after a timeout: a lone Escape was the Escape key. An unfinished paste stays pending."""
        if self._held.startswith(_PASTE_BEGINS):
            return []
        held, self._held = self._held, ""
        self._escaped = held == "\x1b"
        return ["esc"] if held else []


def _first_key(held: str) -> tuple[str, int]:
    """The first key and its number of characters; ("", n) for an unknown sequence, ("", 0) if it is incomplete."""
    first = held[0]
    if first != "\x1b":
        return _plain_key(first), 1
    if held.startswith(_PASTE_BEGINS):
        end = held.find(_PASTE_ENDS)
        if end < 0:
            return "", 0
        return PASTE + held[len(_PASTE_BEGINS) : end], end + len(_PASTE_ENDS)
    found = _SEQUENCE.match(held)
    if found:
        parameters, final, after_o = found.groups()
        if after_o is not None:
            return _NAMED.get(after_o, ""), found.end()
        name = final if final != "~" else (parameters or "").split(";")[0] + "~"
        return _NAMED.get(name, ""), found.end()
    if _UNFINISHED.match(held):
        return "", 0
    return "esc", 1


def _plain_key(character: str) -> str:
    if character in "\r\n":
        return "enter"
    if character in "\x7f\x08":
        return "backspace"
    if character == "\t":
        return "tab"
    if "\x01" <= character <= "\x1a":
        return "ctrl-" + chr(ord(character) + 96)
    return "" if character < " " else character
