"""Records taken apart and put together: what is asked (an item), and what somebody answered (a verdict).

`Content` is an item's: prompt, completions and the rest. A verdict is a label's own fields as a dictionary: a record's
fields without the item's and without the annotator. `record_of` joins both; nothing of a record is lost.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.data.load import check_text
from steersman.dataclass_rows import build, plain
from steersman.errors import DataError
from steersman.records import (
    KIND_OF,
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Label,
    Prompt,
    Ranking,
    Record,
    from_dict,
    to_dict,
)

TASKS = {
    "pair": "comparison",
    "ranking": "ranking",
    "rating": "label",
    "thumb": "label",
    "demonstration": "demonstration",
    "red_team": "comparison",
}
"""Kinds of items that people judge, each with the kind of record that a label of it is."""
WHOLE = ("document", "steps", "classified", "principle", "critique")
"""Kinds of records that are kept whole as items: nobody is asked about them."""
ITEM_KINDS = ("prompt", "answers", *TASKS, *WHOLE)
BESIDE = ("seconds", "time")
"""What a verdict about a demonstration holds beside its record, which has no such fields."""
_OF_ITEM = {
    "comparison": ("prompt", "first", "second"),
    "ranking": ("prompt", "completions"),
    "label": ("prompt", "completion"),
    "demonstration": ("prompt",),
}


@dataclass(frozen=True, slots=True)
class Content:
    """What an item asks about. `body` is what is neither prompt nor completion, such as a whole document."""

    kind: str
    prompt: Prompt | None = None
    completions: tuple[Completion, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """A verdict, and who gave it."""

    verdict: Mapping[str, Any]
    annotator: str


def parts_of(record: Record) -> tuple[Content, GivenVerdict | None]:
    """The item and the verdict in a record; no verdict in one that judges nothing."""
    kind = KIND_OF[type(record)]
    if isinstance(record, Prompt):
        return Content("prompt", record), None
    if isinstance(record, Answers):
        return Content("answers", record.prompt, record.completions, {"id": record.id} if record.id else {}), None
    if not isinstance(record, Comparison | Ranking | Label | Demonstration):
        return Content(kind, body=to_dict(record)), None
    verdict = {name: value for name, value in plain(record).items() if name not in (*_OF_ITEM[kind], "annotator")}
    judged = GivenVerdict(verdict, record.annotator)
    if isinstance(record, Comparison):
        return Content("pair", record.prompt, (record.first, record.second)), judged
    if isinstance(record, Ranking):
        return Content("ranking", record.prompt, record.completions), judged
    if isinstance(record, Label):
        return Content("rating" if record.ratings else "thumb", record.prompt, (record.completion,)), judged
    return Content("demonstration", record.prompt), judged


def record_of(content: Content, judged: GivenVerdict | None) -> Record:
    """The record of an item, or of a label of it. Raises DataError if the verdict is none of this kind of item."""
    if content.kind in WHOLE:
        return from_dict(content.body)
    if judged is None:
        return _unjudged(content)
    if content.kind == "red_team":
        whole = judged.verdict.get("record")
        record = from_dict(whole) if isinstance(whole, Mapping) else None
        if not isinstance(record, Comparison):
            raise DataError("a red-teaming label holds the conversation and its two answers as a comparison")
        return from_dict({**to_dict(record), **_by(judged)})
    kind = TASKS[content.kind]
    if kind == "demonstration":
        judged = GivenVerdict(
            {name: one for name, one in judged.verdict.items() if name not in BESIDE}, judged.annotator
        )
    taken = [name for name in (*_OF_ITEM[kind], "annotator") if name in judged.verdict]
    if taken:
        raise DataError(f"a verdict about a {content.kind} does not hold {taken[0]!r}; the item does")
    row: dict[str, Any] = {"kind": kind, "prompt": plain(content.prompt), **judged.verdict, **_by(judged)}
    answers = [plain(completion) for completion in content.completions]
    match content.kind:
        case "pair":
            row |= {"first": answers[0], "second": answers[1]}
        case "ranking":
            row["completions"] = answers
        case "rating" | "thumb":
            row["completion"] = answers[0]
        case _:
            pass
    return from_dict(row)


def _unjudged(content: Content) -> Record:
    """The record of an item that nobody has judged: its prompt, or its answers."""
    assert content.prompt is not None
    if not content.completions:
        return content.prompt
    return Answers(content.prompt, content.completions, str(content.body.get("id", "")))


def _by(judged: GivenVerdict) -> dict[str, str]:
    return {"annotator": judged.annotator} if judged.annotator else {}


def refuse_content(content: Content) -> None:
    """Raise DataError for what no item can be."""
    needs = {"pair": (2, 2), "ranking": (2, None), "rating": (1, 1), "thumb": (1, 1)}
    if content.kind not in ITEM_KINDS:
        raise DataError(f"there is no kind of item {content.kind!r}; expected one of {', '.join(ITEM_KINDS)}")
    least, most = needs.get(content.kind, (0, None))
    found = len(content.completions)
    if found < least or (most is not None and found > most):
        raise DataError(f"a {content.kind} has {least}{'' if most else ' or more'} answers; seen {found}")


def text_of(value: Any) -> str:
    """A value as the JSON text that is kept. Text that no database can hold (half a surrogate pair) is an error."""
    check_text(value)
    return json.dumps(value, ensure_ascii=False)


def key_of(*parts: Any) -> str:
    """A hash of JSON values, under which the same content is found again."""
    return hashlib.sha256("\x1e".join(json.dumps(part, ensure_ascii=False) for part in parts).encode()).hexdigest()[:32]


def prompt_in(body: str) -> Prompt:
    return build(Prompt, json.loads(body), "prompt")


def completion_in(body: str) -> Completion:
    return build(Completion, json.loads(body), "completion")
