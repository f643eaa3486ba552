"""Exchanges of red-teaming: what a person wrote to a model, and the two answers that it gave.

Each is an event, kept when the answers come, whether or not the person then chooses between them. The choice is an
ordinary label, which holds the whole comparison.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from steersman.dataclass_rows import build, plain
from steersman.errors import UsageError
from steersman.records import Completion, Message
from steersman.store.events import NewEvent, append, is_kept, known_keys, receipt_of
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import event

EXCHANGE = "exchange"
"""The kind of their events."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation up to a person's last message, and two answers to it. `number` is that of the event."""

    number: int
    messages: tuple[Message, ...]
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class NewExchange:
    """An exchange to keep. `after` and `place`: the exchange and the answer that the conversation went on from."""

    annotator: str
    item_id: int
    key: str
    messages: Sequence[Message]
    completions: Sequence[Completion]
    after: int | None = None
    place: int | None = None


def keep_exchange(found: Project, new: NewExchange) -> Exchange:
    """Keep an exchange. The same key again gives the one that was kept."""
    body = {
        "messages": [plain(one) for one in new.messages],
        "completions": [plain(one) for one in new.completions],
        **({} if new.after is None else {"after": new.after, "place": new.place}),
    }
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [new.annotator])[new.annotator]
        known = known_keys(connection, found.id, [new.key])
        if new.key in known:
            receipt_of(known[new.key], who, new.item_id)
            return _exchange(known[new.key])
        number = append(connection, locked, [NewEvent(EXCHANGE, new.key, new.item_id, who, body=body)])[0]
    return Exchange(number, tuple(new.messages), tuple(new.completions))


def exchange_with_key(found: Project, annotator_id: int, item_id: int, key: str) -> Exchange | None:
    """The exchange that a submission of somebody has brought already. Another's key is an error."""
    with found.database.read() as connection:
        row = known_keys(connection, found.id, [key]).get(key)
    if row is None:
        return None
    receipt_of(row, annotator_id, item_id)
    return _exchange(row)


def find_exchange(found: Project, annotator_id: int, item_id: int, number: int) -> Exchange:
    """Somebody's exchange about an item, by its event's number."""
    mine = (event.c.project_id == found.id, event.c.annotator_id == annotator_id, event.c.item_id == item_id)
    query = select(event).where(*mine, event.c.number == number, event.c.kind == EXCHANGE, is_kept(event))
    with found.database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise UsageError(f"there is no exchange {number} of yours about task {item_id}; write the message again")
    return _exchange(row)


def count_exchanges(found: Project, annotator_id: int, item_id: int) -> int:
    mine = (event.c.annotator_id == annotator_id, event.c.item_id == item_id, event.c.kind == EXCHANGE)
    with found.database.read() as connection:
        return connection.execute(select(func.count()).where(*mine)).scalar_one()


def _exchange(row: Any) -> Exchange:
    if row.kind != EXCHANGE:
        raise UsageError(f"the submission key {row.key!r} was used for another submission; each needs a key of its own")
    body: Mapping[str, Any] = json.loads(row.body)
    messages = tuple(build(Message, one, "message") for one in body.get("messages", ()))
    completions = tuple(build(Completion, one, "completion") for one in body.get("completions", ()))
    return Exchange(row.number, messages, completions)
