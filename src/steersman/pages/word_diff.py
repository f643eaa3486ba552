"""Word-level diff of two answers: stretches that both have, and stretches that only one has."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_PIECES = re.compile(r"\s+|\w+(?:['’]\w+)*|[^\w\s]")
LONGEST = 4000
"""Maximum number of pieces in the longer text. Beyond it no diff is computed, because its cost is quadratic."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an answer's text. `own` means that the other answer does not have it."""

    text: str
    own: bool


def differences(one: str, other: str) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]]:
    """Both texts as stretches. Concatenated, the stretches are the texts, character by character."""
    left, right = _PIECES.findall(one), _PIECES.findall(other)
    if max(len(left), len(right)) > LONGEST:
        return _whole(one, other), _whole(other, one)
    # Words are compared. Different whitespace between equal words does not count as a difference.
    same = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    return (
        _stretches(left, [(block.a, block.size) for block in same]),
        _stretches(right, [(block.b, block.size) for block in same]),
    )


def unmarked(answer: str) -> tuple[Stretch, ...]:
    """One answer as a single stretch without marks."""
    return (Stretch(_as_shown(answer), False),)


def told_apart(one: str, other: str) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]]:
    """Two answers as they are displayed, with their differences marked."""
    return differences(_as_shown(one), _as_shown(other))


def _as_shown(answer: str) -> str:
    return answer.strip() or "(nothing)"


def _whole(text: str, other: str) -> tuple[Stretch, ...]:
    return (Stretch(text, text != other),) if text else ()


def _stretches(pieces: Sequence[str], shared: Sequence[tuple[int, int]]) -> tuple[Stretch, ...]:
    marks = [True] * len(pieces)
    for start, size in shared:
        marks[start : start + size] = [False] * size
    # A single space that both have, between two marked words, is marked too.
    for i in range(1, len(pieces) - 1):
        if pieces[i].isspace() and marks[i - 1] and marks[i + 1]:
            marks[i] = True
    # A space at the edge of a difference is not marked.
    for i in range(len(pieces)):
        if pieces[i].isspace() and marks[i] and not (0 < i < len(pieces) - 1 and marks[i - 1] and marks[i + 1]):
            marks[i] = False
    return tuple(_joined(pieces, marks))


def _joined(pieces: Sequence[str], marks: Sequence[bool]) -> Iterator[Stretch]:
    start = 0
    for i in range(1, len(pieces) + 1):
        if i == len(pieces) or marks[i] != marks[start]:
            yield Stretch("".join(pieces[start:i]), marks[start])
            start = i
