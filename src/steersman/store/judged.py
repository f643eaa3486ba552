"""Labels that count, without the texts that they are about: what figures of quality and soft labels are computed from.

A repeat is a label of the item that it repeats. A label's class is what it says as one of a few values.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.store.checks import REPEAT
from steersman.store.gold import changed_gold
from steersman.store.projects import Project
from steersman.store.reading_cursor import Cursor
from steersman.store.schema import annotator, event, item, round_
from steersman.store.standing import standing_at

PAIR_CLASSES = ("first", "second", "tie")
THUMB_CLASSES = ("good", "not good")
CLASSES: Mapping[str, Sequence[str]] = {"pair": PAIR_CLASSES, "thumb": THUMB_CLASSES}
"""Kinds of tasks whose labels are one of a few values."""
MIRRORS: Mapping[str, tuple[int, ...]] = {"pair": (1, 0, 2)}
"""The class that each class becomes when a pair's answers are swapped."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A label that counts. `gold` is the verdict that was expected, `decided` marks a reviewer's decision, `repeat` a
    label of an item that the annotator had judged before."""

    number: int
    item: int
    kind: str
    annotator: str
    verdict: Mapping[str, Any]
    recorded: str
    decided: bool
    repeat: bool
    gold: Mapping[str, Any] | None
    choice: str

    @property
    def label(self) -> int | None:
        """The place of its class in CLASSES."""
        return class_of(self.kind, self.verdict)

    @property
    def seconds(self) -> float | None:
        """Time spent, where it is known."""
        found = self.verdict.get("seconds", (self.verdict.get("metadata") or {}).get("seconds"))
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def class_of(kind: str, verdict: Mapping[str, Any]) -> int | None:
    """The place of a verdict's class among those of its kind of task; None if the kind has none."""
    if kind == "pair" and isinstance(preference := verdict.get("preference"), int | float):
        return 2 if preference == 0.5 else 0 if preference > 0.5 else 1
    if kind == "thumb" and isinstance(desirable := verdict.get("desirable"), bool):
        return 0 if desirable else 1
    return None


def judged_rows(found: Project, cursor: Cursor) -> Iterator[JudgedRow]:
    """The labels that counted at a cursor, in the order in which they were given."""
    gold = changed_gold(found, cursor.head)
    query = (
        standing_at(found.id, cursor.head)
        .join(item, item.c.id == event.c.item_id)
        .join(annotator, annotator.c.id == event.c.annotator_id)
        .add_columns(
            item.c.kind.label("task"), item.c.repeats, item.c.gold, item.c.choice, annotator.c.pseudonym.label("who")
        )
    )
    if cursor.choice:
        query = query.where(item.c.choice == cursor.choice)
    if cursor.round:
        query = query.join(round_, round_.c.id == item.c.round_id).where(round_.c.name == cursor.round)
    with found.database.read() as connection:
        rows = connection.execution_options(yield_per=5000).execute(query)
        for row in rows:
            asked = row.repeats if row.repeats is not None else row.item_id
            came = None if row.gold is None else json.loads(row.gold)
            yield JudgedRow(
                number=row.number,
                item=asked,
                kind=row.task,
                annotator=row.who,
                verdict=json.loads(row.body),
                recorded=row.recorded,
                decided=row.kind == "adjudication",
                repeat=row.repeats is not None or row.name == REPEAT,
                gold=gold.get(asked, came),
                choice=row.choice,
            )
