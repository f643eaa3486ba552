"""Verifiable rewards: 1 if an answer matches the prompt's ground truth, else 0; as exact text, number or regex.

A user's pattern has a time limit (of the `regex` library). If it is exceeded, the pattern finds nothing and the score's
note says so. Numbers are found by patterns that take linear time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import regex

from steersman.errors import DataError, UsageError
from steersman.reward.scorer import Item, Score, describe_item

Kind = Literal["exact", "numeric", "regex"]
KINDS: tuple[Kind, ...] = ("exact", "numeric", "regex")
USUAL_FIELDS = ("answer", "ground_truth", "solution")
"""Fields where data sets keep the ground truth. The worked solution is last: a short answer is more reliable."""

SECONDS = 0.25
# A sign counts only if it cannot be a minus between two numbers. Digits may be grouped in threes, by a comma or a
# no-break space.
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−+]?)[$€£]?(?P<whole>\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?!\d)|\d+)?(?P<rest>\.\d+)?"
    r"(?P<power>[eE][-+]?\d{1,3}(?!\w))?(?:\s?/\s?(?P<under>\d+(?:\.\d+)?))?"
)
FRACTION = re.compile(r"(?P<sign>[-−+]?)\\[dt]?frac\{(?P<over>[^{}]*)\}\{(?P<under>[^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Verification:
    """How answers are checked. `field` None: the first of USUAL_FIELDS that a prompt has.

    `tolerance` is relative to the right number, and absolute if that is below 1.
    """

    kind: Kind
    field: str | None
    pattern: str | None
    tolerance: float
    ignore_case: bool


class VerifiableScorer:
    """Scores 1 for a right answer, else 0.

    Parts: `right`, and `found`, which is 0 if the answer has nothing to compare.
    """

    def __init__(self, settings: Verification, *, name: str = "") -> None:
        self.name = name or settings.kind
        self._settings = settings
        self._pattern = _compiled(settings)

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Score:
        extracted, note = self._extract(item[1])
        if self._pattern is not None and self._pattern.groups == 0:
            return _scored(right=extracted is not None, found=extracted is not None, note=note)
        truths = self._truths(item)
        right = extracted is not None and any(self._same(extracted, truth, item) for truth in truths)
        if self._settings.kind == "numeric" and extracted is not None and number_in(extracted) is None:
            return _scored(right=False, found=False, note="no number in the answer")
        return _scored(right=right, found=extracted is not None, note=note)

    def _extract(self, answer: str) -> tuple[str | None, str]:
        """The part of the answer that is compared (None: none), and a note."""
        if self._pattern is None:
            return answer, ""
        try:
            matches = list(self._pattern.finditer(answer, timeout=SECONDS))
        except TimeoutError:
            return None, f"the pattern took longer than {SECONDS:g} s"
        # The last match: people and models correct themselves.
        return (matches[-1][1 if self._pattern.groups else 0], "") if matches else (None, "the pattern found nothing")

    def _same(self, extracted: str, truth: str, item: Item) -> bool:
        if self._settings.kind != "numeric":
            return self._plain(extracted) == self._plain(truth)
        right, given = number_in(truth), number_in(extracted)
        if right is None:
            raise DataError(
                f"the right answer {truth[:60]!r} holds no number, for {describe_item(item)}; "
                "scorer.path=verify:exact compares texts"
            )
        return given is not None and abs(given - right) <= self._settings.tolerance * max(1.0, abs(right))

    def _plain(self, text: str) -> str:
        text = " ".join(text.split())
        return text.casefold() if self._settings.ignore_case else text

    def _truths(self, item: Item) -> list[str]:
        """The accepted answers: the ground truth, or several of which each is right."""
        metadata = item[0].metadata
        names = USUAL_FIELDS if self._settings.field is None else (self._settings.field,)
        name = next((name for name in names if metadata.get(name) not in (None, "", [])), None)
        if name is None:
            raise DataError(
                f"no right answer to compare with for {describe_item(item)}: expected the prompt's field "
                f"{' or '.join(names)}, seen {', '.join(metadata) or 'no fields'}. scorer.verify.field names another "
                "one"
            )
        value: Any = metadata[name]
        return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def number_in(text: str) -> float | None:
    """The final number of a text: in its last \\boxed{…}, or after its last ####, or else its last number."""
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
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return text[start:]  # truncated before the closing brace


def _compiled(settings: Verification) -> Any:
    if settings.kind == "regex" and settings.pattern is None:
        raise UsageError(
            "scorer.path=verify:regex needs scorer.verify.pattern, which is not set; give one, such as 'Answer: (.*)'"
        )
    if settings.kind == "exact" and settings.pattern is not None:
        raise UsageError(
            "scorer.path=verify:exact compares whole answers; scorer.path=verify:regex looks for scorer.verify.pattern"
        )
    if settings.pattern is None:
        return None
    try:
        found = regex.compile(settings.pattern)
    except regex.error as error:
        raise UsageError(f"scorer.verify.pattern={settings.pattern!r} is no regular expression: {error}") from error
    if found.groups > 1 or (found.groups == 0 and settings.kind == "numeric"):
        raise UsageError(
            f"scorer.verify.pattern={settings.pattern!r} has {found.groups} groups; expected one, around what is "
            "compared with the right answer (with verify:regex none means that a match is enough). (?:…) does not "
            "count as a group"
        )
    return found


def _scored(*, right: bool, found: bool, note: str) -> Score:
    return Score(float(right), {"right": float(right), "found": float(found)}, note)
