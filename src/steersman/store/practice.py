"""Practice before the first real task: items with a known answer, each marked at once and explained.

A labeller who gets enough of them right may begin; whoever does not may try again, as often as the project says, and
then needs an admin's word. The answers are events of their own kind: they are never labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from steersman.errors import UsageError
from steersman.store.content import GivenVerdict, record_of
from steersman.store.events import NewEvent, append, known_keys, receipt_of
from steersman.store.items import StoredItem, items_with
from steersman.store.labelling import Submission
from steersman.store.matching import likeness
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import event, item, project

ANSWERED, LET_IN = "practice", "qualified"
RIGHT = 0.75
"""A practice answer is right if it is alike the known one by this."""
PASS, ATTEMPTS = 0.7, 3
"""How large a share has to be right, and how often one may try, where the project does not say."""
_KEPT = ("preference", "both_bad", "ranks", "ratings", "desirable")


@dataclass(frozen=True, slots=True)
class Practice:
    """Where an annotator is: state none, open, passed or failed; the items of this attempt that are left; how many of
    them were right; how many attempts are left after this one."""

    state: str
    items: int = 0
    left: tuple[int, ...] = ()
    right: int = 0
    needed: float = PASS
    attempts_left: int = 0

    @property
    def may_begin(self) -> bool:
        return self.state in ("none", "passed")


@dataclass(frozen=True, slots=True)
class Marked:
    """A practice answer's mark, what was expected, and the explanation."""

    right: bool
    expected: Mapping[str, Any]
    explanation: str
    practice: Practice


def practice_of(found: Project, pseudonym: str) -> Practice:
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [pseudonym])[pseudonym]
        return _practice(connection, locked, who)


def has_practice(connection: Connection, project_id: int) -> bool:
    some = select(item.c.id).where(item.c.project_id == project_id, item.c.purpose == "practice").limit(1)
    return connection.execute(some).first() is not None


def practised(connection: Connection, project_id: int, annotator_id: int) -> Practice:
    """Where an annotator is, read without a lock."""
    row = connection.execute(select(project).where(project.c.id == project_id)).one()
    return _practice(connection, row, annotator_id)


def practice_items(found: Project, practice: Practice, limit: int = 5) -> list[StoredItem]:
    with found.database.read() as connection:
        items = items_with(connection, practice.left[:limit])
    return [items[number] for number in practice.left[:limit]]


def answer_practice(found: Project, said: Submission) -> Marked:
    """Mark an answer to a practice item."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [said.annotator])[said.annotator]
        task = items_with(connection, [said.item_id]).get(said.item_id)
        mine = select(item.c.id).where(item.c.id == said.item_id, item.c.project_id == found.id)
        if task is None or connection.execute(mine).first() is None or task.purpose != "practice":
            raise UsageError(f"{found.name} has no practice item {said.item_id}")
        assert task.gold is not None
        known = known_keys(connection, found.id, [said.key])
        if said.key in known:
            receipt_of(known[said.key], who, said.item_id)
            right = bool(json.loads(known[said.key].body)["right"])
        else:
            if said.item_id not in _practice(connection, locked, who).left:
                raise UsageError(f"practice item {said.item_id} is answered already")
            record_of(task.content, GivenVerdict(dict(said.verdict), said.annotator))
            right = (likeness(task.content.kind, said.verdict, task.gold) or 0.0) >= RIGHT
            verdict = {name: said.verdict[name] for name in _KEPT if name in said.verdict}
            new = NewEvent(ANSWERED, said.key, said.item_id, who, body={"verdict": verdict, "right": right})
            append(connection, locked, [new])
        practice = _practice(connection, locked, who)
    return Marked(right, task.gold, str(task.gold.get("rationale", "")), practice)


def let_in(found: Project, by: str, pseudonym: str, key: str) -> int:
    """Let an annotator begin without (more) practice. Returns the event's number."""
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        who = annotators_named(connection, found.id, [pseudonym])[pseudonym]
        known = known_keys(connection, found.id, [key])
        if key in known:
            return receipt_of(known[key], who, None).number
        return append(connection, locked, [NewEvent(LET_IN, key, annotator_id=who, body={"by": by})])[0]


def _practice(connection: Connection, row: Any, who: int) -> Practice:
    wanted = select(item.c.id).where(item.c.project_id == row.id, item.c.purpose == "practice")
    items = list(connection.execute(wanted.order_by(item.c.turn, item.c.id)).scalars())
    if not items:
        return Practice("none")
    asked = json.loads(row.settings).get("practice") or {}
    needed, attempts = float(asked.get("pass", PASS)), int(asked.get("attempts", ATTEMPTS))
    acts = select(event.c.kind, event.c.item_id, event.c.body).where(
        event.c.project_id == row.id, event.c.annotator_id == who, event.c.kind.in_((ANSWERED, LET_IN))
    )
    now: dict[int, bool] = {}
    done = 0
    for act in connection.execute(acts.order_by(event.c.number)):
        if act.kind == LET_IN:
            return Practice("passed", len(items), needed=needed)
        if act.item_id in items:
            now[act.item_id] = bool(json.loads(act.body).get("right"))
        if len(now) == len(items):
            if sum(now.values()) >= needed * len(items) - 1e-9:
                return Practice("passed", len(items), (), sum(now.values()), needed)
            now, done = {}, done + 1
    left = tuple(one for one in items if one not in now)
    state = "open" if done < attempts else "failed"
    return Practice(state, len(items), left if state == "open" else (), sum(now.values()), needed, attempts - done - 1)
