"""What of two answers' form may sway a judgement: their lengths, and whether they are formatted."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from steersman.store.database import BATCH
from steersman.store.items import items_of
from steersman.store.projects import Project

_MARKS = re.compile(r"^\s*(?:[-*+]\s|\d+[.)]\s|#{1,6}\s|```|\|.*\|)|\*\*[^*\n]+\*\*", re.MULTILINE)
"""Lists, headings, code blocks, tables and bold words in Markdown."""


@dataclass(frozen=True, slots=True)
class PairForm:
    """The form of a pair's answers: characters, and marks of formatting."""

    lengths: tuple[int, int]
    marks: tuple[int, int]

    @property
    def longer(self) -> int:
        """0 or 1: the answer that is longer by a tenth or more; -1 for neither."""
        a, b = self.lengths
        return -1 if abs(a - b) < 0.1 * max(a, b, 1) else 0 if a > b else 1

    @property
    def formatted(self) -> int:
        """0 or 1: the only one that is formatted, or the one with twice the marks; -1 for neither."""
        a, b = self.marks
        return 0 if a >= 2 * b and a else 1 if b >= 2 * a and b else -1


@dataclass
class PairForms:
    """The forms of a project's pairs, read once each: the texts of an item never change."""

    known: dict[int, PairForm] = field(default_factory=dict[int, PairForm])

    def of(self, found: Project, items: Iterable[int]) -> dict[int, PairForm]:
        wanted = list(dict.fromkeys(items))
        missing = [number for number in wanted if number not in self.known]
        for start in range(0, len(missing), BATCH):
            for number, one in items_of(found, missing[start : start + BATCH]).items():
                if len(one.content.completions) == 2:
                    self.known[number] = form_of(*(answer.text for answer in one.content.completions))
        return {number: self.known[number] for number in wanted if number in self.known}


def form_of(first: str, second: str) -> PairForm:
    marks = (len(_MARKS.findall(first)), len(_MARKS.findall(second)))
    return PairForm((len(first), len(second)), marks)
