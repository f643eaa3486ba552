"""The fair hand-out of tasks. A task has as many slots as labels are wanted of it. Whoever gets it holds a slot.

A claim ends with a label, a skip, or after its time: then the slot is free again. That two people never hold one slot
is a constraint of the database, whatever races there are.
"""

import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from steersman.errors import UsageError
from steersman.store.checks import CheckShares, check_due, shares_of
from steersman.store.items import StoredItem, items_with
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import claim, item

LEASE = 1800.0
"""Seconds that a task is kept for somebody who has opened it."""


def claim_tasks(
    found: Project, annotator: str, *, count: int = 1, kinds: Sequence[str] = (), lease: float = LEASE
) -> list[StoredItem]:
    """Up to `count` tasks for an annotator: those that they hold already, then the next ones that they have not judged
    or skipped. Each is theirs for `lease` seconds. None where the project is not open or nothing is left."""
    if count < 1 or lease <= 0:
        raise UsageError(f"claim one task or more, for some time; seen count={count}, lease={lease}")
    moment = time.time()
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        if locked.state != "open":
            return []
        release_expired(connection, found.id, moment)
        who = annotators_named(connection, found.id, [annotator])[annotator]
        ids = _held(connection, who, kinds)[:count]
        if ids:
            mine = (claim.c.annotator_id == who, claim.c.item_id.in_(ids))
            connection.execute(update(claim).where(*mine).values(until=moment + lease))
        shares, missing = shares_of(json.loads(locked.settings)), count - len(ids)
        # With checks one by one: which comes next depends on what one has.
        for _ in range(missing if shares.any else 1):
            for number in _fresh(connection, found.id, who, kinds, missing, shares):
                take_slot(connection, found.id, number, who, until=moment + lease)
                ids.append(number)
        tasks = items_with(connection, ids)
    return [tasks[number] for number in ids]


def renew_claims(found: Project, annotator: str, *, lease: float = LEASE) -> int:
    """Keep what an annotator holds for another `lease` seconds. Returns how many tasks these are."""
    moment = time.time()
    with found.database.write() as connection:
        lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator])[annotator]
        held = (claim.c.annotator_id == who, claim.c.state == "open", claim.c.until >= moment)
        return connection.execute(update(claim).where(*held).values(until=moment + lease)).rowcount


def release_claims(found: Project, annotator: str) -> int:
    """Give back what an annotator holds, as when they sign out. Returns how many tasks these were."""
    with found.database.write() as connection:
        lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator])[annotator]
        return _release(connection, (claim.c.annotator_id == who, claim.c.state == "open"))


def release_expired(connection: Connection, project_id: int, moment: float) -> int:
    """Free the slots of claims whose time is over. The project is locked."""
    return _release(connection, (claim.c.project_id == project_id, claim.c.state == "open", claim.c.until < moment))


def _release(connection: Connection, which: Sequence[Any]) -> int:
    ids = list(connection.execute(select(claim.c.item_id).where(*which)).scalars())
    connection.execute(delete(claim).where(*which))
    for number in ids:
        connection.execute(update(item).where(item.c.id == number).values(free=item.c.free + 1))
    return len(ids)


def take_slot(connection: Connection, project_id: int, item_id: int, who: int, *, until: float | None) -> bool:
    """Give somebody a free slot of an item: open until a time, or done at once (None). False if none is free."""
    row = connection.execute(select(item.c.overlap, item.c.free).where(item.c.id == item_id)).one()
    if row.free < 1:
        return False
    taken = set(connection.execute(select(claim.c.slot).where(claim.c.item_id == item_id)).scalars())
    slot = next(number for number in itertools.count() if number not in taken)
    values = {"slot": slot, "state": "done" if until is None else "open", "until": until or 0.0}
    mine = (claim.c.item_id == item_id, claim.c.annotator_id == who)
    changed = connection.execute(update(claim).where(*mine).values(values)).rowcount
    if not changed:
        connection.execute(insert(claim), {"project_id": project_id, "item_id": item_id, "annotator_id": who, **values})
    connection.execute(update(item).where(item.c.id == item_id).values(free=item.c.free - 1))
    return True


def finish_claim(connection: Connection, project_id: int, item_id: int, who: int) -> bool:
    """Mark somebody's claim as done. Without one, a free slot is taken. False: the item has all its labels."""
    mine = (claim.c.item_id == item_id, claim.c.annotator_id == who)
    state = connection.execute(select(claim.c.state).where(*mine)).scalar_one_or_none()
    if state in ("open", "done"):
        connection.execute(update(claim).where(*mine).values(state="done", until=0.0))
        return True
    return take_slot(connection, project_id, item_id, who, until=None)


def skip_claim(connection: Connection, project_id: int, item_id: int, who: int) -> None:
    """Free somebody's slot, and remember that they do not want this item."""
    mine = (claim.c.item_id == item_id, claim.c.annotator_id == who)
    found = connection.execute(select(claim.c.slot).where(*mine)).one_or_none()
    values = {"slot": None, "state": "skipped", "until": 0.0}
    if found is None:
        connection.execute(insert(claim), {"project_id": project_id, "item_id": item_id, "annotator_id": who, **values})
        return
    connection.execute(update(claim).where(*mine).values(values))
    if found.slot is not None:
        connection.execute(update(item).where(item.c.id == item_id).values(free=item.c.free + 1))


def reopen_claim(connection: Connection, project_id: int, item_id: int, who: int, until: float) -> bool:
    """Give an item back to somebody who undid their label or skip of it. False: others have all its slots now."""
    mine = (claim.c.item_id == item_id, claim.c.annotator_id == who)
    state = connection.execute(select(claim.c.state).where(*mine)).scalar_one_or_none()
    if state in ("open", "done"):
        connection.execute(update(claim).where(*mine).values(state="open", until=until))
        return True
    if take_slot(connection, project_id, item_id, who, until=until):
        return True
    connection.execute(delete(claim).where(*mine))
    return False


def forget_skips(connection: Connection, who: int) -> list[int]:
    """Let somebody get the items again that they skipped. Returns these items."""
    skipped = (claim.c.annotator_id == who, claim.c.state == "skipped")
    ids = list(connection.execute(select(claim.c.item_id).where(*skipped).order_by(claim.c.item_id)).scalars())
    connection.execute(delete(claim).where(*skipped))
    return ids


def tasks_left(found: Project, annotator: str) -> int:
    """How many tasks an annotator can still get, with those that they hold."""
    with found.database.write() as connection:
        lock_project(connection, found)
        release_expired(connection, found.id, time.time())
        who = annotators_named(connection, found.id, [annotator])[annotator]
        free = select(func.count()).where(*_may_take(found.id, who, ()), item.c.purpose == "", item.c.repeats.is_(None))
        held = select(func.count()).where(claim.c.annotator_id == who, claim.c.state == "open")
        return connection.execute(free).scalar_one() + connection.execute(held).scalar_one()


def _fresh(
    connection: Connection, project_id: int, who: int, kinds: Sequence[str], count: int, shares: CheckShares
) -> list[int]:
    """The next items of an annotator: ordinary ones, or a check that is due among them."""
    if not shares.any:
        return _free(connection, project_id, who, kinds, count)
    ordinary = _free(connection, project_id, who, kinds, 1)
    if not ordinary:
        return []  # checks are mixed into work; they are none by themselves
    check = check_due(connection, project_id, who, kinds, shares)
    return ordinary if check is None else [check]


def _held(connection: Connection, who: int, kinds: Sequence[str]) -> list[int]:
    query = select(claim.c.item_id).where(claim.c.annotator_id == who, claim.c.state == "open")
    if kinds:
        query = query.join(item, item.c.id == claim.c.item_id).where(item.c.kind.in_(kinds))
    return list(connection.execute(query.order_by(claim.c.id)).scalars())


def _free(connection: Connection, project_id: int, who: int, kinds: Sequence[str], count: int) -> list[int]:
    if count < 1:
        return []
    ordinary = (*_may_take(project_id, who, kinds), item.c.purpose == "", item.c.repeats.is_(None))
    query = select(item.c.id).where(*ordinary).order_by(item.c.turn, item.c.id).limit(count)
    return list(connection.execute(query).scalars())


def _may_take(project_id: int, who: int, kinds: Sequence[str]) -> list[Any]:
    theirs = exists().where(claim.c.item_id == item.c.id, claim.c.annotator_id == who)
    wanted = [item.c.kind.in_(kinds)] if kinds else []
    return [item.c.project_id == project_id, item.c.free > 0, *wanted, ~theirs]
