"""How far a project is: counts that stay fast in large ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, or_, select

from steersman.store.projects import Project
from steersman.store.schema import annotator, claim, event, item, standing

COUNTED = 1000
"""Tasks left are counted so far; more are as good as many."""
_ORDINARY = (item.c.purpose == "", item.c.repeats.is_(None))


@dataclass(frozen=True, slots=True)
class OwnProgress:
    """An annotator's: tasks done, how many they can still get (None: more than COUNTED), and how many they skipped."""

    done: int
    left: int | None
    skipped: int


def own_progress(connection: Connection, project_id: int, annotator_id: int, kinds: Sequence[str]) -> OwnProgress:
    mine = (claim.c.annotator_id == annotator_id, claim.c.state == "done")
    done = connection.execute(select(func.count()).select_from(claim).where(*mine)).scalar_one()
    theirs = exists().where(claim.c.item_id == item.c.id, claim.c.annotator_id == annotator_id)
    open_ones = (item.c.project_id == project_id, item.c.free > 0, item.c.kind.in_(kinds), *_ORDINARY, ~theirs)
    some = select(item.c.id).where(*open_ones).limit(COUNTED + 1).subquery()
    free = connection.execute(select(func.count()).select_from(some)).scalar_one()
    held = (claim.c.annotator_id == annotator_id, claim.c.state == "open", claim.c.until >= time.time())
    free += connection.execute(select(func.count()).select_from(claim).where(*held)).scalar_one()
    mine = (claim.c.annotator_id == annotator_id, claim.c.state == "skipped")
    skipped = connection.execute(select(func.count()).select_from(claim).where(*mine)).scalar_one()
    return OwnProgress(done, free if free <= COUNTED else None, skipped)


def project_progress(found: Project) -> dict[str, Any]:
    """A project's tasks, labels wanted and given, and what each annotator has done. Gold items that are mixed in, and
    repeats, are no tasks that have to be done."""
    tasks = (item.c.project_id == found.id, item.c.overlap > 0, *_ORDINARY)
    with found.database.read() as connection:
        sums = select(func.count(), func.coalesce(func.sum(item.c.overlap), 0), func.coalesce(func.sum(item.c.free), 0))
        count, wanted, free = connection.execute(sums.where(*tasks)).one()
        finished = connection.execute(_finished(found.id)).scalar_one()
        held = select(func.count()).select_from(claim.join(item, item.c.id == claim.c.item_id))
        held = held.where(claim.c.project_id == found.id, claim.c.state == "open", *_ORDINARY)
        open_now = connection.execute(held).scalar_one()
        people = [row._asdict() for row in connection.execute(_by_annotator(found.id))]
    return {
        "tasks": count,
        "wanted": int(wanted),
        "given": int(wanted) - int(free) - open_now,
        "held": open_now,
        "finished": finished,
        "annotators": people,
    }


def _finished(project_id: int) -> Any:
    not_done = exists().where(claim.c.item_id == item.c.id, claim.c.state == "open")
    which = (item.c.project_id == project_id, item.c.overlap > 0, item.c.free == 0, *_ORDINARY, ~not_done)
    return select(func.count()).select_from(item).where(*which)


def _by_annotator(project_id: int) -> Any:
    """Labels that count, first and last event, by annotator."""
    labels = (
        select(standing.c.annotator_id, func.count().label("labels"))
        .where(standing.c.project_id == project_id)
        .group_by(standing.c.annotator_id)
        .subquery()
    )
    # Events have the order of their time, so two look-ups in an index give it, however many events there are.
    mine = (event.c.project_id == project_id, event.c.annotator_id == annotator.c.id)
    first = select(event.c.recorded).where(*mine).order_by(event.c.number).limit(1).scalar_subquery()
    last = select(event.c.recorded).where(*mine).order_by(event.c.number.desc()).limit(1).scalar_subquery()
    acted = exists().where(*mine)
    return (
        select(
            annotator.c.pseudonym,
            annotator.c.role,
            func.coalesce(labels.c.labels, 0).label("labels"),
            first.label("first"),
            last.label("last"),
        )
        .outerjoin(labels, labels.c.annotator_id == annotator.c.id)
        .where(annotator.c.project_id == project_id, or_(labels.c.labels > 0, acted))
        .order_by(annotator.c.id)
    )


def held_until(connection: Connection, annotator_id: int, items: Sequence[int]) -> dict[int, float]:
    """Until when an annotator holds these items, in seconds since 1970."""
    mine = (claim.c.annotator_id == annotator_id, claim.c.state == "open", claim.c.item_id.in_(items))
    return {row.item_id: row.until for row in connection.execute(select(claim.c.item_id, claim.c.until).where(*mine))}


def held_items(connection: Connection, annotator_id: int, kinds: Sequence[str]) -> list[int]:
    """What an annotator holds, in the order of the hand-out."""
    mine = (claim.c.annotator_id == annotator_id, claim.c.state == "open", claim.c.until >= time.time())
    query = select(claim.c.item_id).join(item, item.c.id == claim.c.item_id).where(*mine, item.c.kind.in_(kinds))
    return list(connection.execute(query.order_by(claim.c.id)).scalars())
