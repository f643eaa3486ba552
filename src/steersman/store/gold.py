"""Gold items: tasks with a known answer."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from steersman.errors import UsageError
from steersman.store.content import GivenVerdict, record_of, text_of
from steersman.store.items import items_with
from steersman.store.projects import Project, lock_project
from steersman.store.schema import item


def set_gold(found: Project, by: str, item_id: int, key: str, expected: Mapping[str, Any] | None) -> None:
    """Give an item a known answer; without `expected` it is an ordinary one again."""
    with found.database.write() as connection:
        lock_project(connection, found)
        row = connection.execute(select(item.c.id).where(item.c.id == item_id, item.c.project_id == found.id)).first()
        if row is None:
            raise UsageError(f"{found.name} has no item {item_id}")
        if expected is not None:
            record_of(items_with(connection, [item_id])[item_id].content, GivenVerdict(dict(expected), by))
        gold = None if expected is None else text_of(dict(expected))
        connection.execute(update(item).where(item.c.id == item_id).values(gold=gold))
