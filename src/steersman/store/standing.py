"""Which labels count: a projection of the events, kept in the table `standing` in the transaction of each event.

A thread is all that one annotator said about one item (under one name). Its label that counts is the last one that was
not undone. `standing_at` computes the same for any earlier cursor from the events alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, select

from steersman.store.events import LABELS, is_kept
from steersman.store.projects import Project, lock_project
from steersman.store.schema import event, standing

Thread = tuple[int, int, str]
"""Item, annotator, name."""


def last_standing(events: Iterable[tuple[int, str, int | None]]) -> int | None:
    """The number of the label that counts after these events of one thread, each (number, kind, refers)."""
    labels: dict[int, None] = {}
    for number, kind, refers in events:
        if kind in LABELS:
            labels[number] = None
        elif kind == "undo" and refers is not None:
            labels.pop(refers, None)
    return max(labels, default=None)


def place_labels(connection: Connection, project_id: int, labels: Sequence[tuple[Thread, int]]) -> None:
    """Let new labels count, each in its thread's place of an earlier one."""
    newest = dict(labels)
    for thread in newest:
        _clear(connection, thread)
    rows = [_row(project_id, thread, number) for thread, number in newest.items()]
    if rows:
        connection.execute(insert(standing), rows)


def settle(connection: Connection, project_id: int, thread: Thread) -> int | None:
    """Compute a thread's label that counts from its events, and keep it. Returns its number."""
    query = select(event.c.number, event.c.kind, event.c.refers).where(*_of(event, thread), is_kept(event))
    query = query.order_by(event.c.number)
    number = last_standing((row.number, row.kind, row.refers) for row in connection.execute(query))
    _clear(connection, thread)
    if number is not None:
        connection.execute(insert(standing), _row(project_id, thread, number))
    return number


def rebuild(found: Project) -> int:
    """Compute the projection of a whole project anew from its events. Returns how many labels count."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        connection.execute(delete(standing).where(standing.c.project_id == found.id))
        query = standing_at(found.id, locked.head)
        rows = [
            _row(found.id, (row.item_id, row.annotator_id, row.name), row.number) for row in connection.execute(query)
        ]
        if rows:
            connection.execute(insert(standing), rows)
    return len(rows)


def standing_at(project_id: int, head: int) -> Any:
    """The events of the labels that counted at a cursor, in order of their numbers."""
    later = event.alias("later")
    replaced = exists().where(
        and_(
            later.c.item_id == event.c.item_id,
            later.c.annotator_id == event.c.annotator_id,
            later.c.name == event.c.name,
            later.c.number > event.c.number,
            later.c.number <= head,
            later.c.kind.in_(LABELS),
            is_kept(later),
            ~_undone(later, project_id, head),
        )
    )
    return (
        select(event)
        .where(event.c.project_id == project_id, event.c.number <= head, event.c.kind.in_(LABELS))
        .where(is_kept(event), ~_undone(event, project_id, head), ~replaced)
        .order_by(event.c.number)
    )


def judged_at(project_id: int, head: int, items: Sequence[int]) -> Any:
    """Which of these items had a label that counted at a cursor."""
    of_items = (event.c.item_id.in_(items), event.c.kind.in_(LABELS), event.c.number + 0 <= head, is_kept(event))
    return select(event.c.item_id).where(*of_items, ~_undone(event, project_id, head)).distinct()


def _undone(of: Any, project_id: int, head: int) -> Any:
    undo = event.alias()
    # `+ 0`: a database that knows nothing of the rows would look through all events up to the cursor for each label.
    return exists().where(
        undo.c.project_id == project_id,
        undo.c.refers == of.c.number,
        undo.c.kind == "undo",
        undo.c.number + 0 <= head,
    )


def standing_now(project_id: int) -> Any:
    """The events of the labels that count now, in order of their numbers."""
    return (
        select(event)
        .join(standing, and_(standing.c.project_id == event.c.project_id, standing.c.number == event.c.number))
        .where(standing.c.project_id == project_id)
        .order_by(event.c.number)
    )


def verdicts_of(connection: Connection, project_id: int, items: Sequence[int]) -> dict[Thread, str]:
    """The verdicts that count now about some items, as their JSON text, by thread."""
    query = (
        select(standing.c.item_id, standing.c.annotator_id, standing.c.name, event.c.body)
        .join(event, and_(standing.c.project_id == event.c.project_id, standing.c.number == event.c.number))
        .where(standing.c.project_id == project_id, standing.c.item_id.in_(items))
    )
    return {(row.item_id, row.annotator_id, row.name): row.body for row in connection.execute(query)}


def _row(project_id: int, thread: Thread, number: int) -> dict[str, Any]:
    item_id, annotator_id, name = thread
    return {
        "project_id": project_id,
        "item_id": item_id,
        "annotator_id": annotator_id,
        "name": name,
        "number": number,
    }


def _of(table: Any, thread: Thread) -> list[Any]:
    return [table.c.item_id == thread[0], table.c.annotator_id == thread[1], table.c.name == thread[2]]


def _clear(connection: Connection, thread: Thread) -> None:
    connection.execute(delete(standing).where(*_of(standing, thread)))
