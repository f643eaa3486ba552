"""What a project has to be judged, as a list to show: counts by kind and round, and tasks with how far each is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select

from steersman.store.items import StoredItem, items_with
from steersman.store.projects import Project
from steersman.store.schema import claim, item, round_, standing


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task, how many people have judged it, and how many have it now."""

    task: StoredItem
    labels: int
    held: int


def count_items(found: Project) -> list[Mapping[str, Any]]:
    """Items by kind and round: how many, how many of them are tasks, and labels wanted (none of gold items)."""
    query = (
        select(
            item.c.kind,
            round_.c.name.label("round"),
            func.count().label("items"),
            func.sum(case((item.c.overlap > 0, 1), else_=0)).label("tasks"),
            func.sum(case((item.c.purpose == "", item.c.overlap), else_=0)).label("wanted"),
        )
        .outerjoin(round_, round_.c.id == item.c.round_id)
        .where(item.c.project_id == found.id, item.c.repeats.is_(None))
        .group_by(item.c.kind, round_.c.name)
        .order_by(item.c.kind, round_.c.name)
    )
    with found.database.read() as connection:
        return [
            {
                "kind": row.kind,
                "round": row.round or "",
                "items": row.items,
                "tasks": int(row.tasks),
                "wanted": int(row.wanted),
            }
            for row in connection.execute(query)
        ]


def list_tasks(found: Project, *, after: int = 0, gold: bool | None = None, limit: int = 20) -> list[ListedTask]:
    """Tasks after an id, in the order in which they came; with `gold`, only those with or without a known answer."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.id > after, item.c.overlap > 0)
    query = query.where(item.c.repeats.is_(None))
    if gold is not None:
        query = query.where(item.c.gold.is_not(None) if gold else item.c.gold.is_(None))
    with found.database.read() as connection:
        ids = list(connection.execute(query.order_by(item.c.id).limit(limit)).scalars())
        by_id = items_with(connection, ids)
        labels = (
            select(standing.c.item_id, func.count()).where(standing.c.item_id.in_(ids)).group_by(standing.c.item_id)
        )
        given = {row[0]: row[1] for row in connection.execute(labels)}
        open_ones = select(claim.c.item_id, func.count()).where(claim.c.item_id.in_(ids), claim.c.state == "open")
        held = {row[0]: row[1] for row in connection.execute(open_ones.group_by(claim.c.item_id))}
    return [ListedTask(by_id[number], given.get(number, 0), held.get(number, 0)) for number in ids]
