"""Gold items: tasks with a known answer, mixed into everybody's work, or for practice.

A reviewer makes an item gold, or an import brings it. What was gold when is in events, so that a snapshot which was
taken before reads what it read then: labels of gold items are not trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from steersman.errors import UsageError
from steersman.store.content import GivenVerdict, key_of, record_of, text_of
from steersman.store.events import NewEvent, Receipt, append, known_keys, receipt_of
from steersman.store.items import FOR_EVERYBODY, NewItem, item_key, items_with
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import claim, event, item

MADE_GOLD = "gold"
"""The kind of event that gives an item a known answer, or takes it away."""


def set_gold(
    found: Project, by: str, item_id: int, key: str, expected: Mapping[str, Any] | None, *, purpose: str = "gold"
) -> Receipt:
    """Give an item a known answer, for `purpose` gold or practice; without `expected` it is an ordinary one again."""
    if purpose not in ("gold", "practice"):
        raise UsageError(f"an item with a known answer is gold or practice; seen {purpose!r}")
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [by])[by]
        known = known_keys(connection, found.id, [key])
        if key in known:
            return receipt_of(known[key], who, item_id)
        row = connection.execute(select(item).where(item.c.id == item_id, item.c.project_id == found.id)).first()
        if row is None or row.repeats is not None:
            raise UsageError(f"{found.name} has no item {item_id}")
        number = give_answer(connection, locked, row, NewAnswer(key, who, by, expected, purpose))
    return Receipt(number, MADE_GOLD, False)


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """The known answer that an item gets (None: none any more), from whom (no id: an import), and this act's key."""

    key: str
    annotator_id: int | None
    annotator: str
    expected: Mapping[str, Any] | None
    purpose: str = "gold"


def give_answer(connection: Connection, locked: Any, row: Any, new: NewAnswer) -> int:
    """Give an item of a locked project a known answer. Returns the event's number."""
    expected = None if new.expected is None else dict(new.expected)
    if expected is not None:
        record_of(items_with(connection, [row.id])[row.id].content, GivenVerdict(expected, new.annotator))
    _set_purpose(connection, row, new.purpose if expected is not None else "")
    gold = None if expected is None else text_of(expected)
    connection.execute(update(item).where(item.c.id == row.id).values(gold=gold))
    body = {"expected": expected, "before": None if row.gold is None else json.loads(row.gold), "purpose": new.purpose}
    return append(connection, locked, [NewEvent(MADE_GOLD, new.key, row.id, new.annotator_id, body=body)])[0]


def give_answers(connection: Connection, found: Project, items: Mapping[int, NewItem]) -> tuple[int, int]:
    """Give items that are there the known answers that an import brings. Returns how many became gold or practice, and
    how many cannot be practice, because people have judged them. What an earlier import did is not done again."""
    keys = {
        number: "import-" + key_of(item_key(new), dict(new.gold or {}), new.purpose) for number, new in items.items()
    }
    known = known_keys(connection, found.id, list(keys.values()))
    changed = refused = 0
    for number, new in items.items():
        row = connection.execute(select(item).where(item.c.id == number)).one()
        same = (row.purpose, row.gold) == (new.purpose, text_of(dict(new.gold or {})))
        if same or keys[number] in known:
            continue
        if new.purpose == "practice" and _taken(connection, number):
            refused += 1
            continue
        now_locked = lock_project(connection, found)  # with the number of the last event
        give_answer(connection, now_locked, row, NewAnswer(keys[number], None, "", new.gold, new.purpose))
        changed += 1
    return changed, refused


def _taken(connection: Connection, item_id: int) -> int:
    slots = select(func.count()).where(claim.c.item_id == item_id, claim.c.slot.is_not(None))
    return connection.execute(slots).scalar_one()


def _set_purpose(connection: Connection, row: Any, purpose: str) -> None:
    """Open an item for everybody, for practice only, or for as many people as have it now."""
    taken = _taken(connection, row.id)
    if purpose == "practice" and taken:
        raise UsageError(f"{taken} people have judged item {row.id} or have it now; only a task of nobody is practice")
    overlap = {"gold": FOR_EVERYBODY, "practice": 0, "": max(1, taken)}[purpose]
    values = {"purpose": purpose, "overlap": overlap, "free": max(0, overlap - taken)}
    connection.execute(update(item).where(item.c.id == row.id).values(values))


def changed_gold(found: Project, head: int) -> dict[int, Mapping[str, Any] | None]:
    """The expected verdicts, at a cursor, of items that have become gold or ordinary at any time. Others are as they
    came."""
    query = select(event.c.item_id, event.c.number, event.c.body)
    query = query.where(event.c.project_id == found.id, event.c.kind == MADE_GOLD).order_by(event.c.number)
    at: dict[int, Mapping[str, Any] | None] = {}
    with found.database.read() as connection:
        for row in connection.execute(query):
            body = json.loads(row.body)
            if row.number <= head:
                at[row.item_id] = body["expected"]
            else:
                at.setdefault(row.item_id, body["before"])
    return at
