"""Answers that can be checked: 1 if an answer says what the prompt's own field holds, else 0; exact, as a number, or by a pattern.

A pattern's time is bounded (the `regex` library's own limit): one that goes astray on an answer finds nothing in it, and says so
in the score's note. Numbers are found by patterns that take linear time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import regex

from steersman.errors import DataError, UsageError
from steersman.reward.scorer import Item, Score, told

Kind = Literal["exact", "numeric", "regex"]
KINDS: tuple[Kind, ...] = ("exact", "numeric", "regex")
USUAL_FIELDS = ("answer", "ground_truth", "solution")
"""Where data sets keep the right answer; a worked solution is the last to be asked, since the short answer is surer."""

SECONDS = 0.25
# A sign counts only where it cannot be a minus between two numbers. Groups of three by comma, or by a space that does not break.
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−+]?)[$€£]?(?P<whole>\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?!\d)|\d+)?(?P<rest>\.\d+)?"
    r"(?P<power>[eE][-+]?\d{1,3}(?!\w))?(?:\s?/\s?(?P<under>\d+(?:\.\d+)?))?"
)
FRACTION = re.compile(r"(?P<sign>[-−+]?)\\[dt]?frac\{(?P<over>[^{}]*)\}\{(?P<under>[^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Verification:
    """`field` None means the first of the usual names that a prompt has. `tolerance` is relative to the right number, and
    absolute below 1."""

    kind: Kind
    field: str | None
    pattern: str | None
    tolerance: float
    ignore_case: bool


class VerifiableScorer:
    """A score's parts: `right`, and `found`, which is 0 where the answer holds nothing to compare."""

    def __init__(self, how: Verification, *, name: str = "") -> None:
        self.name = name or how.kind
        self._how = how
        self._pattern = _compiled(how)

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Score:
        said, note = self._said(item[1])
        if self._pattern is not None and self._pattern.groups == 0:
            return _scored(right=said is not None, found=said is not None, note=note)
        truths = self._truths(item)
        right = said is not None and any(self._same(said, truth, item) for truth in truths)
        if self._how.kind == "numeric" and said is not None and number_in(said) is None:
            return _scored(right=False, found=False, note="no number in the answer")
        return _scored(right=right, found=said is not None, note=note)

    def _said(self, answer: str) -> tuple[str | None, str]:
        """What of the answer is compared, and what there is to say about it."""
        if self._pattern is None:
            return answer, ""
        try:
            found = list(self._pattern.finditer(answer, timeout=SECONDS))
        except TimeoutError:
            return None, f"the pattern took longer than {SECONDS:g} s"
        # The last: people and models alike correct themselves.
        return (found[-1][1 if self._pattern.groups else 0], "") if found else (None, "the pattern found nothing")

    def _same(self, said: str, truth: str, item: Item) -> bool:
        if self._how.kind != "numeric":
            return self._plain(said) == self._plain(truth)
        right, seen = number_in(truth), number_in(said)
        if right is None:
            raise DataError(
                f"the right answer {truth[:60]!r} holds no number, for {told(item)}; scorer.path=verify:exact compares texts"
            )
        return seen is not None and abs(seen - right) <= self._how.tolerance * max(1.0, abs(right))

    def _plain(self, text: str) -> str:
        words = " ".join(text.split())
        return words.casefold() if self._how.ignore_case else words

    def _truths(self, item: Item) -> list[str]:
        """The right answer, or several of which each is right."""
        metadata = item[0].metadata
        names = USUAL_FIELDS if self._how.field is None else (self._how.field,)
        name = next((name for name in names if metadata.get(name) not in (None, "", [])), None)
        if name is None:
            raise DataError(
                f"no right answer to compare with for {told(item)}: expected the prompt's field {' or '.join(names)}, seen "
                f"{', '.join(metadata) or 'no fields'}. scorer.verify.field names another one"
            )
        found: Any = metadata[name]
        return [str(each) for each in found] if isinstance(found, list | tuple) else [str(found)]


def number_in(text: str) -> float | None:
    """The number that a text comes to: the one in its last \\boxed{…}, or after its last ####, or else its last number."""
    boxed = _last_boxed(text)
    if boxed is None and "####" in text:
        boxed = text.rsplit("####", 1)[1]
    within = text if boxed is None else boxed
    fractions = list(FRACTION.finditer(within))
    numbers = [found for found in NUMBER.finditer(within) if found["whole"] or found["rest"]]
    if fractions and (not numbers or numbers[-1].end() <= fractions[-1].end()):
        return _fraction(fractions[-1])
    return _value(numbers[-1].groupdict()) if numbers else None


def _value(found: Mapping[str, str | None]) -> float | None:
    whole = re.sub(r"[,\u00a0\u2009\u202f]", "", found["whole"] or "0")
    value = float(whole + (found["rest"] or "") + (found["power"] or ""))
    under = float(found["under"] or 1)
    if under == 0 or value in (float("inf"), float("-inf")) or under == float("inf"):
        return None
    return (-value if found["sign"] in ("-", "−") else value) / under


def _fraction(found: re.Match[str]) -> float | None:
    over, under = number_in(found["over"]), number_in(found["under"])
    if over is None or not under:
        return None
    return (-over if found["sign"] in ("-", "−") else over) / under


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start:]  # cut off before it was closed


def _compiled(how: Verification) -> Any:
    if how.kind == "regex" and how.pattern is None:
        raise UsageError(
            "scorer.path=verify:regex looks for scorer.verify.pattern, and there is none; give one, such as 'Answer: (.*)'"
        )
    if how.kind == "exact" and how.pattern is not None:
        raise UsageError(
            "scorer.path=verify:exact compares whole answers; scorer.path=verify:regex looks for scorer.verify.pattern"
        )
    if how.pattern is None:
        return None
    try:
        found = regex.compile(how.pattern)
    except regex.error as error:
        raise UsageError(f"scorer.verify.pattern={how.pattern!r} is no regular expression: {error}") from error
    if found.groups > 1 or (found.groups == 0 and how.kind == "numeric"):
        raise UsageError(
            f"scorer.verify.pattern={how.pattern!r} has {found.groups} groups; expected one, around what is compared with the right answer "
            "(with verify:regex none means that a match is enough); (?:…) groups without counting"
        )
    return found


def _scored(*, right: bool, found: bool, note: str) -> Score:
    return Score(float(right), {"right": float(right), "found": float(found)}, note)
