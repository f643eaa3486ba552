"""What people said about items beside labels: decisions, flags, skips, comments; and all that was said of one item."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, or_, select

from steersman.store.events import is_kept
from steersman.store.projects import Project
from steersman.store.schema import annotator, event, item, standing

_ABOUT = ("flag", "skip", "comment", "more", "gold", "late")


@dataclass(frozen=True, slots=True)
class SaidOfItem:
    """An event about an item. `counts`: a label that counts; `repeat`: its annotator had judged the item before."""

    number: int
    kind: str
    annotator: str
    recorded: str
    body: Mapping[str, Any]
    counts: bool
    repeat: bool


def said_of_item(found: Project, item_id: int) -> list[SaidOfItem]:
    """What stands about an item and its repeats, oldest first."""
    undo = event.alias("undo")
    undone = exists().where(undo.c.project_id == found.id, undo.c.refers == event.c.number, undo.c.kind == "undo")
    query = (
        select(event, annotator.c.pseudonym, item.c.repeats, standing.c.number.label("stands"))
        .join(item, item.c.id == event.c.item_id)
        .outerjoin(annotator, annotator.c.id == event.c.annotator_id)
        .outerjoin(standing, and_(standing.c.project_id == event.c.project_id, standing.c.number == event.c.number))
        .where(event.c.project_id == found.id, or_(event.c.item_id == item_id, item.c.repeats == item_id))
        .where(or_(standing.c.number.is_not(None), and_(event.c.kind.in_(_ABOUT), ~undone)), is_kept(event))
        .order_by(event.c.number)
    )
    with found.database.read() as connection:
        return [
            SaidOfItem(
                row.number,
                row.kind,
                row.pseudonym or "",
                row.recorded,
                json.loads(row.body),
                row.stands is not None,
                row.repeats is not None,
            )
            for row in connection.execute(query)
        ]


def said_of_items(found: Project, kind: str, like: str = "") -> dict[int, tuple[str, int]]:
    """The kind of task of each item about which events of a kind stand, and of how many people. With `like` only those
    that hold this text."""
    undo = event.alias("undo")
    undone = exists().where(undo.c.project_id == found.id, undo.c.refers == event.c.number, undo.c.kind == "undo")
    query = (
        select(event.c.item_id, item.c.kind, func.count(func.distinct(event.c.annotator_id)).label("people"))
        .join(item, item.c.id == event.c.item_id)
        .where(event.c.project_id == found.id, event.c.kind == kind, item.c.repeats.is_(None), ~undone)
        .group_by(event.c.item_id, item.c.kind)
    )
    if like:
        query = query.where(event.c.body.like(f"%{like}%"))
    with found.database.read() as connection:
        return {row.item_id: (row.kind, row.people) for row in connection.execute(query)}


def waiting_items(found: Project) -> set[int]:
    """Items that lack labels."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.free > 0, item.c.purpose == "")
    with found.database.read() as connection:
        return set(connection.execute(query).scalars())
