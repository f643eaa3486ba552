"""What annotators do: label, undo, skip, flag, comment, adjudicate. Each is an event, saved when the call returns.

A submission has a key, which its client makes once. The same key a second time changes nothing and gets the first
receipt: a client that does not know whether it was heard sends again (an offline queue, a lost connection, a kill).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, exists, select

from steersman.errors import UsageError
from steersman.store.claims import LEASE, finish_claim, forget_skips, reopen_claim, skip_claim
from steersman.store.content import TASKS, GivenVerdict, record_of
from steersman.store.events import ACTS, LABELS, NewEvent, Receipt, append, known_keys, receipt_of
from steersman.store.items import StoredItem, items_with
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import annotator, event, item, standing
from steersman.store.second_opinions import ask_where_labels_disagree
from steersman.store.standing import place_labels, settle

REVIEWERS = ("reviewer", "admin")


@dataclass(frozen=True, slots=True)
class Submission:
    """What an annotator does with an item. `verdict` is a label's own fields (`content`); `name` tells apart several
    labels of one item by one annotator, such as a repetition."""

    annotator: str
    item_id: int
    key: str
    verdict: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str = ""


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo took back: the event's number and kind, its item, and what it had said."""

    receipt: Receipt
    kind: str
    item_id: int | None
    body: Mapping[str, Any]


def submit_label(found: Project, said: Submission) -> Receipt:
    """Save a label, or a new version of one. Where an item has all its labels already (a claim that ran out), it is
    kept as an event of the kind `late`, and does not count."""
    with found.database.write() as connection:
        act = _Act.begin(connection, found, said)
        if act.before is not None:
            return act.before
        task = _task(connection, found, said.item_id)
        if task.purpose == "practice":
            raise UsageError(f"item {task.id} is for practice; answer it there")
        if task.only_for not in (None, act.who):
            raise UsageError(f"{found.name} has no item {task.id} for {said.annotator!r}")
        verdict = dict(said.verdict)
        record_of(task.content, GivenVerdict(verdict, said.annotator))  # raises if it is none
        thread = (task.id, act.who, said.name)
        counted = task.overlap == 0 or finish_claim(connection, found.id, task.id, act.who)
        kind = "late" if not counted else "edit" if _stands(connection, thread) else "label"
        number = act.append(kind, verdict)
        if counted:
            place_labels(connection, found.id, [(thread, number)])
            ask_where_labels_disagree(connection, found, act.locked, task)
    return Receipt(number, kind, False)


def adjudicate(found: Project, said: Submission) -> Receipt:
    """A reviewer's decision about an item. Training reads it in place of the item's labels, which are all kept."""
    with found.database.write() as connection:
        act = _Act.begin(connection, found, said)
        if act.before is not None:
            return act.before
        role = connection.execute(select(annotator.c.role).where(annotator.c.id == act.who)).scalar_one()
        if role not in REVIEWERS:
            raise UsageError(f"{said.annotator!r} is a {role} in {found.name}; reviewers adjudicate")
        task = _task(connection, found, said.item_id)
        verdict = dict(said.verdict)
        record_of(task.content, GivenVerdict(verdict, said.annotator))
        name = said.name or "adjudication"  # a label of the same person stays what it is
        number = act.append("adjudication", verdict, name=name)
        place_labels(connection, found.id, [((task.id, act.who, name), number)])
    return Receipt(number, "adjudication", False)


def skip_task(found: Project, said: Submission, reason: str = "") -> Receipt:
    """Skip a task: somebody else gets it, and this annotator does not again (see `revisit_skipped`)."""
    with found.database.write() as connection:
        act = _Act.begin(connection, found, said)
        if act.before is not None:
            return act.before
        if _task(connection, found, said.item_id).overlap:
            skip_claim(connection, found.id, said.item_id, act.who)
        return Receipt(act.append("skip", {"reason": reason} if reason else {}), "skip", False)


def flag_item(found: Project, said: Submission, reason: str) -> Receipt:
    """Report an item to the reviewers: an unanswerable prompt, say. It stays a task."""
    return _say(found, said, "flag", {"reason": reason})


def comment_item(found: Project, said: Submission, text: str) -> Receipt:
    return _say(found, said, "comment", {"text": text})


def _say(found: Project, said: Submission, kind: str, body: Mapping[str, Any]) -> Receipt:
    with found.database.write() as connection:
        act = _Act.begin(connection, found, said)
        if act.before is not None:
            return act.before
        _item(connection, found, said.item_id)
        return Receipt(act.append(kind, body), kind, False)


def undo_last(
    found: Project,
    annotator_name: str,
    key: str,
    *,
    number: int | None = None,
    item_id: int | None = None,
    lease: float = LEASE,
) -> Undone | None:
    """Take back an annotator's last act that stands, across submissions and days; or the one of this number, or the
    last one about this item. The task is theirs again, unless others have taken its place meanwhile. None if there is
    nothing to undo."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator_name])[annotator_name]
        known = known_keys(connection, found.id, [key])
        if key in known:
            row = known[key]
            if row.kind != "undo":
                raise UsageError(f"the submission key {key!r} was used for another submission; each needs its own")
            was = connection.execute(_numbered(found, row.refers)).one()
            return Undone(receipt_of(row, who, was.item_id), was.kind, was.item_id, json.loads(was.body))
        last = _last_act(found, who)
        last = last if item_id is None else last.where(event.c.item_id == item_id)
        was = connection.execute(last if number is None else last.where(event.c.number == number)).first()
        if was is None:
            return None
        new = NewEvent("undo", key, was.item_id, who, was.name, was.number)
        undoing = append(connection, locked, [new])[0]
        stands = was.kind in LABELS and settle(connection, found.id, (was.item_id, who, was.name)) is not None
        held = was.item_id if was.kind in ("label", "edit", "skip") and not stands else None
        if held is not None and _item(connection, found, held).overlap:
            reopen_claim(connection, found.id, held, who, time.time() + lease)
        return Undone(Receipt(undoing, "undo", False), was.kind, was.item_id, json.loads(was.body))


def revisit_skipped(found: Project, annotator_name: str, key: str) -> list[int]:
    """Let an annotator get again what they skipped. Returns the items."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator_name])[annotator_name]
        known = known_keys(connection, found.id, [key])
        if key in known:
            return list(json.loads(known[key].body)["items"])
        items = forget_skips(connection, who)
        append(connection, locked, [NewEvent("revisit", key, annotator_id=who, body={"items": items})])
        return items


def note_session(found: Project, annotator_name: str, key: str, facts: Mapping[str, Any]) -> int:
    """Keep how a client began its work: with which settings, say."""
    return _note(found, annotator_name, "session", key, facts)


def skip_unknown(found: Project, annotator_name: str, key: str, facts: Mapping[str, Any]) -> int:
    """Keep a skip of something that the project has no item for yet. `facts` name it as `item`."""
    return _note(found, annotator_name, "skip", key, facts)


def _note(found: Project, annotator_name: str, kind: str, key: str, facts: Mapping[str, Any]) -> int:
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator_name])[annotator_name]
        known = known_keys(connection, found.id, [key])
        if key in known:
            return receipt_of(known[key], who, None).number
        return append(connection, locked, [NewEvent(kind, key, annotator_id=who, body=facts)])[0]


@dataclass(frozen=True, slots=True)
class _Act:
    """A submission in its transaction: the project is locked. `before` is its receipt if it had arrived already."""

    connection: Connection
    locked: Any
    who: int
    said: Submission
    before: Receipt | None

    @staticmethod
    def begin(connection: Connection, found: Project, said: Submission) -> "_Act":
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [said.annotator])[said.annotator]
        known = known_keys(connection, found.id, [said.key])
        before = receipt_of(known[said.key], who, said.item_id) if said.key in known else None
        return _Act(connection, locked, who, said, before)

    def append(self, kind: str, body: Mapping[str, Any], *, name: str | None = None) -> int:
        named = self.said.name if name is None else name
        new = NewEvent(kind, self.said.key, self.said.item_id, self.who, named, body=body)
        return append(self.connection, self.locked, [new])[0]


def _item(connection: Connection, found: Project, item_id: int) -> StoredItem:
    known = connection.execute(select(item.c.id).where(item.c.id == item_id, item.c.project_id == found.id)).first()
    if known is None:
        raise UsageError(f"{found.name} has no item {item_id}")
    return items_with(connection, [item_id])[item_id]


def _task(connection: Connection, found: Project, item_id: int) -> StoredItem:
    task = _item(connection, found, item_id)
    if task.content.kind not in TASKS:
        raise UsageError(f"item {item_id} of {found.name} is a {task.content.kind}; people judge {', '.join(TASKS)}")
    return task


def _stands(connection: Connection, thread: tuple[int, int, str]) -> bool:
    item_id, who, name = thread
    of_thread = (standing.c.item_id == item_id, standing.c.annotator_id == who, standing.c.name == name)
    return connection.execute(select(standing.c.number).where(*of_thread)).first() is not None


def _numbered(found: Project, number: int) -> Any:
    return select(event).where(event.c.project_id == found.id, event.c.number == number)


def _last_act(found: Project, who: int) -> Any:
    undo = event.alias("undo")
    undone = exists().where(undo.c.project_id == found.id, undo.c.refers == event.c.number, undo.c.kind == "undo")
    return (
        select(event)
        .where(event.c.project_id == found.id, event.c.annotator_id == who, event.c.kind.in_(ACTS), ~undone)
        .order_by(event.c.number.desc())
        .limit(1)
    )
