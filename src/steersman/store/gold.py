"""Gold items: tasks with a known answer."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from steersman.errors import UsageError
from steersman.store.content import GivenVerdict, record_of, text_of
from steersman.store.items import items_with
from steersman.store.projects import Project, lock_project
from steersman.store.schema import item, snapshot, standing


def set_gold(found: Project, by: str, item_id: int, key: str, expected: Mapping[str, Any] | None) -> None:
    """Give an item a known answer; without `expected` it is an ordinary one again."""
    with found.database.write() as connection:
        lock_project(connection, found)
        row = connection.execute(select(item.c.id).where(item.c.id == item_id, item.c.project_id == found.id)).first()
        if row is None:
            raise UsageError(f"{found.name} has no item {item_id}")
        if expected is not None:
            record_of(items_with(connection, [item_id])[item_id].content, GivenVerdict(dict(expected), by))
        _refuse_frozen(connection, found, item_id)
        gold = None if expected is None else text_of(dict(expected))
        connection.execute(update(item).where(item.c.id == item_id).values(gold=gold))


def _refuse_frozen(connection: Connection, found: Project, item_id: int) -> None:
    """Labels of gold items are not trained on: a snapshot that holds some of this item must read the same later."""
    first = select(func.min(standing.c.number)).where(standing.c.item_id == item_id).scalar_subquery()
    frozen = select(snapshot.c.number).where(snapshot.c.project_id == found.id, snapshot.c.head >= first).limit(1)
    number = connection.execute(frozen).scalar_one_or_none()
    if number is not None:
        raise UsageError(f"judgements of task {item_id} are in snapshot {number}; choose a task that is in none")
