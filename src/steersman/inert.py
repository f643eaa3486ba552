"""Escaping of model text for a terminal: characters that move the cursor, change colours or reorder text become
visible.

An answer is untrusted text: an escape sequence in it must not change the page, and a right-to-left override must not
disguise it. Joiners and combining marks are kept, because ordinary writing needs them.
"""

import json
import re

# C0 without tab and newline, DEL and C1; soft breaks and fillers; bidi marks, embeddings, overrides and isolates; line
# and paragraph separators; interlinear marks; lone surrogates; the invisible tag characters.
_LIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\u206a-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def _visible(match: "re.Match[str]") -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"


def inert(text: str) -> str:
    """`text` with \\n line ends, tabs as spaces, and every control character replaced by a visible symbol."""
    return _LIVE.sub(_visible, text.replace("\r\n", "\n")).replace("\t", "    ")


def escaped(text: str) -> str:
    """JSON in which every control character is written as an escape: the same value, and inert."""
    return _LIVE.sub(lambda found: json.dumps(found.group())[1:-1], text) if _LIVE.search(text) else text


_UNTYPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def as_typed(text: str) -> str:
    """A pasted or externally edited text with \\n line ends and without control characters: it will be trained on."""
    return _UNTYPED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
