"""What one annotator has done in a project, as far as it is in effect."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from steersman.records import Record
from steersman.store.content import GivenVerdict, record_of
from steersman.store.database import BATCH
from steersman.store.events import LABELS, is_kept
from steersman.store.items import StoredItem, items_with
from steersman.store.projects import Project
from steersman.store.schema import annotator, event


@dataclass(frozen=True, slots=True)
class ActRow:
    """A label, or a skip (without a record; `skipped` is the name that a client gave to the item). A label that came
    `late` does not count."""

    number: int
    record: Record | None
    skipped: str = ""
    late: bool = False


_SAID = (*LABELS, "late")


def acts_of(found: Project, annotator_name: str) -> list[ActRow]:
    """An annotator's labels and skips in effect, oldest first. A new version of a label stands where it was made."""
    query = (
        select(event)
        .join(annotator, annotator.c.id == event.c.annotator_id)
        .where(event.c.project_id == found.id, annotator.c.pseudonym == annotator_name, is_kept(event))
        .order_by(event.c.number)
    )
    with found.database.read() as connection:
        rows = _in_effect(connection.execute(query).all())
        items: dict[int, StoredItem] = {}
        ids = sorted({row.item_id for row in rows if row.item_id is not None})
        for start in range(0, len(ids), BATCH):
            items |= items_with(connection, ids[start : start + BATCH])
    return [_act(row, items, annotator_name) for row in rows]


def _in_effect(rows: Any) -> list[Any]:
    acts: dict[int, Any] = {}
    for row in rows:
        if row.kind in (*_SAID, "skip"):
            acts[row.number] = row
        elif row.kind == "undo":
            acts.pop(row.refers, None)
        elif row.kind == "revisit":
            acts = {number: act for number, act in acts.items() if act.kind != "skip"}
    newest = {(act.item_id, act.name): number for number, act in acts.items() if act.kind in _SAID}
    return [act for number, act in acts.items() if act.kind == "skip" or newest[act.item_id, act.name] == number]


def _act(row: Any, items: dict[int, StoredItem], annotator_name: str) -> ActRow:
    body = json.loads(row.body)
    if row.kind == "skip":
        return ActRow(row.number, None, str(body.get("item", "")))
    return ActRow(
        row.number, record_of(items[row.item_id].content, GivenVerdict(body, annotator_name)), late=row.kind == "late"
    )
