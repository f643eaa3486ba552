"""The events of a project: what everybody did, in order, and only appended.

Each event has a number (1, 2, … in the order of commits), the key of its submission, a digest of what it says, and a
running hash over all digests so far. The hash covers digests, not texts: a text can be deleted at its author's request,
and the order of events can still be verified.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from steersman.errors import DataError, UsageError
from steersman.store.content import text_of
from steersman.store.database import BATCH
from steersman.store.projects import Project, now
from steersman.store.schema import event, project

WHOLE = "whole"
"""In `erased`: nothing of what the event said is kept, and its label counts at no time."""
LABELS = ("label", "edit", "adjudication")
"""Kinds of events that give a verdict."""
ACTS = (*LABELS, "late", "skip", "flag")
"""Kinds of events that their annotator can undo."""
KINDS = (*ACTS, "undo", "revisit", "comment", "session", "erasure", "gold", "more", "practice", "qualified", "exchange")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is to be appended. `name` tells apart several labels of one item by one annotator."""

    kind: str
    key: str
    item_id: int | None = None
    annotator_id: int | None = None
    name: str = ""
    refers: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgement of a submission. `repeated`: it had arrived before, and nothing was done again."""

    number: int
    kind: str
    repeated: bool


def known_keys(connection: Connection, project_id: int, keys: Sequence[str]) -> dict[str, Any]:
    """The events among these submissions that are there already, by key."""
    found: dict[str, Any] = {}
    for start in range(0, len(keys), BATCH):
        query = select(event).where(event.c.project_id == project_id, event.c.key.in_(keys[start : start + BATCH]))
        found |= {row.key: row for row in connection.execute(query)}
    return found


def receipt_of(row: Any, annotator_id: int | None, item_id: int | None) -> Receipt:
    """The receipt of a submission that had arrived before. The key of somebody else's is an error."""
    if (row.annotator_id, row.item_id) != (annotator_id, item_id):
        raise UsageError(f"the submission key {row.key!r} was used for another submission; each needs a key of its own")
    return Receipt(row.number, row.kind, True)


def append(connection: Connection, locked: Any, events: Sequence[NewEvent]) -> list[int]:
    """Append events to a locked project, whose keys are new. Returns their numbers."""
    number, running, rows, recorded = locked.head, locked.hash, [], now()
    for new in events:
        if len(new.key) > 128 or not new.key:
            raise UsageError(f"a submission's key has 1 to 128 characters; seen {len(new.key)}")
        number += 1
        body = text_of(dict(new.body))
        row: dict[str, Any] = {
            "project_id": locked.id,
            "number": number,
            "kind": new.kind,
            "item_id": new.item_id,
            "annotator_id": new.annotator_id,
            "name": new.name,
            "refers": new.refers,
            "body": body,
            "recorded": recorded,
            "key": new.key,
        }
        row["digest"] = digest_of_event(row)
        row["hash"] = running = next_hash(running, number, row["digest"])
        rows.append(row)
    if rows:
        connection.execute(insert(event), rows)
        connection.execute(update(project).where(project.c.id == locked.id).values(head=number, hash=running))
    return [row["number"] for row in rows]


def is_kept(table: Any) -> Any:
    """A condition: the event was not erased as a whole."""
    return or_(table.c.erased.is_(None), table.c.erased != WHOLE)


def digest_of_event(row: Mapping[str, Any]) -> str:
    said = [row[name] for name in ("kind", "item_id", "annotator_id", "name", "refers", "key", "recorded", "body")]
    return hashlib.sha256(text_of(said).encode()).hexdigest()


def next_hash(before: str, number: int, digest: str) -> str:
    return hashlib.sha256(f"{before} {number} {digest}".encode()).hexdigest()


def read_events(found: Project, *, after: int = 0, until: int | None = None) -> Iterator[Any]:
    """A project's events in order, from a cursor on, read in batches."""
    while True:
        query = select(event).where(event.c.project_id == found.id, event.c.number > after)
        if until is not None:
            query = query.where(event.c.number <= until)
        with found.database.read() as connection:
            rows = connection.execute(query.order_by(event.c.number).limit(BATCH)).all()
        yield from rows
        if len(rows) < BATCH:
            return
        after = rows[-1].number


def verify_events(found: Project) -> int:
    """Check numbers, digests and the running hash of all events. Returns how many there are; damage is a DataError."""
    with found.database.read() as connection:
        end = connection.execute(select(project).where(project.c.id == found.id)).one()
        asked = select(event.c.annotator_id).where(event.c.project_id == found.id, event.c.kind == "erasure")
        erased = set(connection.execute(asked).scalars())
    number, running = 0, ""
    for row in read_events(found, until=end.head):
        number += 1
        # Of what its author had erased, at a request that is an event itself, the digest alone is left.
        gone = row.erased is not None and row.annotator_id in erased
        digest = row.digest if gone else digest_of_event(row._asdict())
        running = next_hash(running, number, digest)
        if (row.number, row.digest, row.hash) != (number, digest, running):
            raise DataError(
                f"event {row.number} of {found.name} is altered, or one before it is missing: its hash does not match. "
                "Restore a backup"
            )
    if (number, running) != (end.head, end.hash):
        raise DataError(f"{found.name} has {number} events, but {end.head} were recorded. Restore a backup")
    return number
