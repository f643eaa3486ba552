"""Numbered snapshots of a project: what a training run reads, however long people go on labelling.

A snapshot is a cursor (event, item, round) and a hash of all records as of then. Events are never changed, so the same
records can be read again at any time; the hash is checked when they are.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select

from steersman.errors import DataError, UsageError
from steersman.records import Record, to_dict
from steersman.store.projects import Project, lock_project, now
from steersman.store.reading import read_records
from steersman.store.reading_cursor import Cursor, cursor_of
from steersman.store.schema import snapshot


@dataclass(frozen=True, slots=True)
class DataSnapshot:
    """A snapshot: its number in the project, what it covers, and the hash of its records."""

    number: int
    cursor: Cursor
    rows: int
    content: str
    created: str


def freeze(found: Project, round: str = "", *, labels: str = "", choice: str = "") -> DataSnapshot:
    """A snapshot of the project as it is now. If nothing has changed since an earlier one, it is that one.
    `labels` = "soft" gives one soft label for each pair and thumb; `choice` takes only tasks that were chosen so."""
    cursor = cursor_of(found, round, labels=labels, choice=choice)
    same = [one for one in list_snapshots(found) if one.cursor == cursor]
    if same:
        return same[0]
    rows, content = _hashed(read_records(found, cursor))
    with found.database.write() as connection:
        lock_project(connection, found)
        last = connection.execute(select(func.max(snapshot.c.number)).where(snapshot.c.project_id == found.id))
        made = DataSnapshot((last.scalar_one() or 0) + 1, cursor, rows, content, now())
        values = {"number": made.number, "rows": rows, "content": content, "created": made.created}
        values |= {"head": cursor.head, "last_item": cursor.last_item, "round": cursor.round}
        values |= {"labels": cursor.labels, "choice": cursor.choice}
        connection.execute(insert(snapshot), {"project_id": found.id, **values})
    return made


def list_snapshots(found: Project) -> list[DataSnapshot]:
    query = select(snapshot).where(snapshot.c.project_id == found.id).order_by(snapshot.c.number)
    with found.database.read() as connection:
        return [
            DataSnapshot(row.number, _cursor(row), row.rows, row.content, row.created)
            for row in connection.execute(query)
        ]


def _cursor(row: Any) -> Cursor:
    return Cursor(row.head, row.last_item, row.round, row.labels, row.choice)


def find_snapshot(found: Project, number: int) -> DataSnapshot:
    known = list_snapshots(found)
    one = next((one for one in known if one.number == number), None)
    if one is None:
        there = f"there are 1 to {len(known)}" if known else f"`steersman studio snapshot {found.name}` makes the first"
        raise UsageError(f"{found.name} has no snapshot {number}; {there}")
    return one


def read_snapshot(found: Project, one: DataSnapshot) -> Iterator[Record]:
    """The records of a snapshot, checked against its hash when the last one has been read."""
    digest, rows = hashlib.sha256(), 0
    for record in read_records(found, one.cursor):
        digest.update(_line(record))
        rows += 1
        yield record
    _refuse_changed(found, one, rows, digest.hexdigest())


def verify_snapshot(found: Project, one: DataSnapshot) -> str:
    """The hash of a snapshot's records, computed anew. Other records than at first are a DataError."""
    _refuse_changed(found, one, *_hashed(read_records(found, one.cursor)))
    return one.content


def _refuse_changed(found: Project, one: DataSnapshot, rows: int, content: str) -> None:
    if (rows, content) != (one.rows, one.content):
        raise DataError(
            f"snapshot {one.number} of {found.name} is not what it was: {one.rows:,} records with the hash "
            f"{one.content[:12]} then, {rows:,} with {content[:12]} now. Something was deleted or altered; train on a "
            "new snapshot, in another run folder"
        )


def _hashed(records: Iterator[Record]) -> tuple[int, str]:
    digest, rows = hashlib.sha256(), 0
    for record in records:
        digest.update(_line(record))
        rows += 1
    return rows, digest.hexdigest()


def _line(record: Record) -> bytes:
    return json.dumps(to_dict(record), ensure_ascii=False).encode() + b"\n"
