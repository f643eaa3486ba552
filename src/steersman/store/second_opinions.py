"""Second opinions: one more person for an item, asked for by a reviewer, or by themselves where labels disagree.

The project's setting `second_opinions` is the largest number of labels of an item. While its labels disagree, one more
person gets it, up to that number.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select, update

from steersman.errors import UsageError
from steersman.store.events import NewEvent, Receipt, append, known_keys, receipt_of
from steersman.store.items import FOR_EVERYBODY, StoredItem
from steersman.store.judged import class_of
from steersman.store.matching import likeness
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import claim, item
from steersman.store.standing import verdicts_of

ASKED_MORE = "more"
"""The kind of event with which one more label is wanted."""
ENOUGH_ALIKE = 0.6
"""Rankings and ratings agree if they are alike by this on average."""
AHEAD = 2
"""Labels by which one class leads where labels agree: two of two, or three of four."""


def disagree(kind: str, verdicts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the labels of an item leave it open what is right. One label alone does not."""
    if len(verdicts) < 2:
        return False
    classes = [class_of(kind, one) for one in verdicts]
    if None not in classes:
        (_, most), *rest = Counter(classes).most_common(2)
        return most - (rest[0][1] if rest else 0) < AHEAD
    alike = [likeness(kind, one, other) for i, one in enumerate(verdicts) for other in verdicts[:i]]
    known = [one for one in alike if one is not None]
    return bool(known) and sum(known) / len(known) < ENOUGH_ALIKE


def ask_where_labels_disagree(connection: Connection, found: Project, locked: Any, task: StoredItem) -> bool:
    """After a label: want one more if the item has all its labels and they disagree. The project is locked."""
    most = int(json.loads(locked.settings).get("second_opinions") or 0)
    if most < 2 or task.purpose or task.repeats is not None or not 0 < task.overlap < most:
        return False
    # Wanted labels that nobody has given yet come first.
    done = select(func.count()).where(claim.c.item_id == task.id, claim.c.state == "done")
    if connection.execute(done).scalar_one() < task.overlap:
        return False
    said = verdicts_of(connection, found.id, [task.id])
    verdicts = [json.loads(body) for (_, _, name), body in said.items() if name != "adjudication"]
    if not disagree(task.content.kind, verdicts):
        return False
    fresh = lock_project(connection, found)
    key = f"more-{task.id}-{task.overlap + 1}"
    if key in known_keys(connection, found.id, [key]):
        return False
    append(connection, fresh, [_more(task.id, key, None, task.overlap + 1, "the labels disagree")])
    _one_more(connection, task.id)
    return True


def ask_one_more(found: Project, by: str, item_id: int, key: str, reason: str = "") -> Receipt:
    """A reviewer asks for one more label of an item."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [by])[by]
        known = known_keys(connection, found.id, [key])
        if key in known:
            return receipt_of(known[key], who, item_id)
        row = connection.execute(select(item).where(item.c.id == item_id, item.c.project_id == found.id)).first()
        if row is None or row.repeats is not None or row.purpose or not row.overlap:
            raise UsageError(f"{found.name} has no task {item_id} that people judge")
        if row.overlap >= FOR_EVERYBODY:
            raise UsageError(f"everybody gets item {item_id} already")
        if row.free:
            raise UsageError(f"item {item_id} waits for {row.free} more already")
        number = append(connection, locked, [_more(item_id, key, who, row.overlap + 1, reason)])[0]
        _one_more(connection, item_id)
    return Receipt(number, ASKED_MORE, False)


def _more(item_id: int, key: str, who: int | None, overlap: int, reason: str) -> NewEvent:
    return NewEvent(ASKED_MORE, key, item_id, who, body={"overlap": overlap, "reason": reason})


def _one_more(connection: Connection, item_id: int) -> None:
    values = {"overlap": item.c.overlap + 1, "free": item.c.free + 1}
    connection.execute(update(item).where(item.c.id == item_id).values(values))
