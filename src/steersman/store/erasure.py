"""What one person has said, to hand it to them or to erase it at their request.

Erased are: their name and password, every way in, drafts, and free text (rationales, comments, reasons, demonstrations
and red-teaming, which are their own writing). With `labels` also what they judged; their tasks go to others then. What
stays is a tombstone: the events with their numbers and digests, under a pseudonym that is new.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from steersman.errors import UsageError
from steersman.store.audit import note
from steersman.store.content import text_of
from steersman.store.database import BATCH, Database
from steersman.store.entry import list_tokens, when
from steersman.store.events import LABELS, WHOLE, NewEvent, append
from steersman.store.exchanges import EXCHANGE
from steersman.store.projects import Project, lock_project, now
from steersman.store.schema import (
    annotator,
    audit,
    claim,
    draft,
    event,
    invite,
    item,
    member,
    person,
    project,
    sign_in,
    snapshot,
    standing,
    token,
)

_SAID = (*LABELS, "late")
_WRITTEN = ("demonstration", "red_team")
"""Tasks whose verdict is the person's own text."""
_FREE = ("rationale", "reason", "text")


@dataclass
class Erasure:
    """What was erased. `snapshots` hold labels of the person, by project: models may have been trained on them."""

    events: int = 0
    labels: int = 0
    snapshots: dict[str, list[int]] = field(default_factory=dict[str, list[int]])


def data_of_person(database: Database, person_id: int) -> dict[str, Any]:
    """All that is kept of a person."""
    with database.read() as connection:
        row = _row(connection, person_id)
        sessions = select(sign_in.c.created, sign_in.c.seen).where(sign_in.c.person_id == person_id)
        log = select(audit).where(audit.c.person_id == person_id).order_by(audit.c.id)
        return {
            "person": {
                "name": row.name,
                "created": row.created,
                "admin": bool(row.admin),
                "password": bool(row.password),
            },
            "projects": [_in_project(connection, one) for one in _memberships(connection, person_id)],
            "sign_ins": [{"began": when(one.created), "seen": when(one.seen)} for one in connection.execute(sessions)],
            "tokens": list_tokens(connection, person_id),
            "log": [
                {"time": one.time, "action": one.action, "about": json.loads(one.about)}
                for one in connection.execute(log)
            ],
        }


def _row(connection: Connection, person_id: int) -> Any:
    row = connection.execute(select(person).where(person.c.id == person_id, person.c.erased.is_(None))).first()
    if row is None:
        raise UsageError(f"there is no person {person_id}; they may have been erased")
    return row


def _memberships(connection: Connection, person_id: int) -> list[Any]:
    query = (
        select(member.c.project_id, project.c.name, member.c.role, member.c.annotator_id, annotator.c.pseudonym)
        .join(project, project.c.id == member.c.project_id)
        .join(annotator, annotator.c.id == member.c.annotator_id)
        .where(member.c.person_id == person_id)
        .order_by(member.c.project_id)
    )
    return list(connection.execute(query).all())


def _in_project(connection: Connection, one: Any) -> dict[str, Any]:
    said = select(event).where(event.c.annotator_id == one.annotator_id).order_by(event.c.number)
    drafts = select(draft).where(draft.c.annotator_id == one.annotator_id).order_by(draft.c.key)
    return {
        "project": one.name,
        "role": one.role,
        "pseudonym": one.pseudonym,
        "events": [
            {
                "number": row.number,
                "kind": row.kind,
                "task": row.item_id,
                "refers": row.refers,
                "time": row.recorded,
                "said": json.loads(row.body),
            }
            for row in connection.execute(said)
        ],
        "drafts": [{"task": row.key, "text": row.text, "time": row.time} for row in connection.execute(drafts)],
        "snapshots": _snapshots_with(connection, one),
    }


def _snapshots_with(connection: Connection, one: Any) -> list[int]:
    """The snapshots that were taken after the first label of an annotator."""
    of_theirs = (event.c.annotator_id == one.annotator_id, event.c.kind.in_(LABELS))
    first = connection.execute(select(func.min(event.c.number)).where(*of_theirs)).scalar_one()
    if first is None:
        return []
    query = select(snapshot.c.number).where(snapshot.c.project_id == one.project_id, snapshot.c.head >= first)
    return list(connection.execute(query.order_by(snapshot.c.number)).scalars())


def erase_person(database: Database, person_id: int, *, labels: bool, by: int | None = None) -> Erasure:
    """Erase a person's data. The last admin of a studio is not erased: make somebody else one first."""
    done = Erasure()
    with database.write() as connection:
        row = _row(connection, person_id)
        others = select(func.count()).where(person.c.admin == 1, person.c.erased.is_(None), person.c.id != person_id)
        if row.admin and not connection.execute(others).scalar_one():
            raise UsageError("this is the studio's only admin; make somebody else an admin first")
        for one in _memberships(connection, person_id):
            if with_labels := _snapshots_with(connection, one):
                done.snapshots[one.name] = with_labels
            _erase_in(connection, Project(database, one.project_id, one.name), one, labels, done)
        for table in (sign_in, token, invite):
            connection.execute(delete(table).where(table.c.person_id == person_id))
        connection.execute(update(member).where(member.c.person_id == person_id).values(role=""))
        gone = {"name": "", "sign_name": None, "password": None, "admin": 0, "erased": now()}
        connection.execute(update(person).where(person.c.id == person_id).values(gone))
        about = {"erased": person_id, "labels": labels, "events": done.events}
        note(connection, "erase_person", person_id=by, about=about)
    return done


def _erase_in(connection: Connection, found: Project, one: Any, labels: bool, done: Erasure) -> None:
    locked = lock_project(connection, found)
    who, after, changed = one.annotator_id, 0, 0
    while True:
        query = select(event.c.id, event.c.number, event.c.kind, event.c.body, item.c.kind.label("task"))
        query = query.outerjoin(item, item.c.id == event.c.item_id).order_by(event.c.number).limit(BATCH)
        rows = connection.execute(query.where(event.c.annotator_id == who, event.c.number > after)).all()
        for row in rows:
            values = _without(row, labels)
            if values is not None:
                connection.execute(update(event).where(event.c.id == row.id).values(values))
                changed += 1
        if len(rows) < BATCH:
            break
        after = rows[-1].number
    done.events += changed
    done.labels += _free_tasks(connection, who, labels)
    connection.execute(delete(draft).where(draft.c.annotator_id == who))
    pseudonym = f"removed-{secrets.token_hex(4)}"
    connection.execute(update(annotator).where(annotator.c.id == who).values(pseudonym=pseudonym))
    new = NewEvent("erasure", f"erasure-{secrets.token_hex(8)}", None, who, body={"labels": labels, "events": changed})
    append(connection, locked, [new])


def _without(row: Any, labels: bool) -> dict[str, Any] | None:
    """What an event becomes; None if it has nothing that is to go."""
    if row.kind == EXCHANGE or (row.kind in _SAID and (labels or row.task in _WRITTEN)):
        return {"body": "{}", "erased": WHOLE}
    body = json.loads(row.body)
    left = _without_text(body)
    return None if left == body else {"body": text_of(left), "erased": "text"}


def _without_text(body: Mapping[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in body.items() if name not in _FREE}
    if isinstance(metadata := left.get("metadata"), Mapping):
        left["metadata"] = {name: value for name, value in metadata.items() if name not in _FREE}
    return left


def _free_tasks(connection: Connection, who: int, labels: bool) -> int:
    """Give others the tasks whose labels are gone, and those that were held. Returns how many labels these are."""
    which = [standing.c.annotator_id == who]
    if not labels:
        written = select(item.c.id).where(item.c.kind.in_(_WRITTEN))
        which.append(standing.c.item_id.in_(written))
    gone = set(connection.execute(select(standing.c.item_id).where(*which)).scalars())
    count = connection.execute(delete(standing).where(*which)).rowcount
    held = select(claim.c.id, claim.c.item_id, claim.c.slot, claim.c.state).where(claim.c.annotator_id == who)
    for row in connection.execute(held).all():
        if row.slot is not None and (row.state == "open" or row.item_id in gone):
            connection.execute(delete(claim).where(claim.c.id == row.id))
            connection.execute(update(item).where(item.c.id == row.item_id).values(free=item.c.free + 1))
    return count
