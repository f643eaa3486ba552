"""Model text made harmless for a terminal: what could move the cursor, change colours or reorder a line becomes visible.

An answer is foreign text: an escape sequence in it must not repaint the page, and a right-to-left override must not
make it read as something else. Joiners and combining marks stay, because ordinary writing needs them.
"""

import re

# C0 but tab and newline, DEL and C1; soft breaks and fillers; bidi marks, embeddings, overrides and isolates; line and
# paragraph separators; interlinear marks; lone surrogates; the invisible tag letters.
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
    """`text` with line ends made plain, tabs made spaces and every live character replaced by its picture."""
    return _LIVE.sub(_visible, text.replace("\r\n", "\n")).replace("\t", "    ")


_UNTYPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def as_typed(text: str) -> str:
    """A text pasted or edited elsewhere, with plain line ends and without what no key types: it will be trained on."""
    return _UNTYPED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
