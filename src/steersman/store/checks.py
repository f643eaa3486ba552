"""Checks that are mixed into an annotator's tasks: gold items, and repeats of what they have judged before.

The project's settings say how large a share of the tasks they are. They look like any other task: they come at places
that nobody can foresee, with the same fields, and a repeat's answers are in an order of its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select

from steersman.store.content import key_of
from steersman.store.projects import now
from steersman.store.schema import claim, item, item_completion, standing

REPEAT = "repeat"
"""The name of a label that repeats an earlier one of its annotator."""
REPEAT_GAP = 8
"""Labels between an item and its repeat, at the least: nobody should remember it."""
GOLD_SHARE = 0.1
"""The share of tasks that are gold items, where a project has some and does not say."""
REPEATED = ("pair", "ranking", "rating", "thumb")
_LOOKED_AT = 40


@dataclass(frozen=True, slots=True)
class CheckShares:
    """Shares of an annotator's tasks that are gold items and repeats."""

    gold: float = 0.0
    repeat: float = 0.0

    @property
    def any(self) -> bool:
        return self.gold > 0 or self.repeat > 0


def shares_of(settings: Mapping[str, Any]) -> CheckShares:
    """What a project's settings say."""
    return CheckShares(float(settings.get("gold_share", GOLD_SHARE)), float(settings.get("repeat_share", 0.0)))


def check_due(
    connection: Connection, project_id: int, who: int, kinds: Sequence[str], shares: CheckShares
) -> int | None:
    """The gold item or repeat that an annotator gets now; None where an ordinary task is due, or no check is left.

    The project is locked. A repeat is an item of its own for them alone, which is made here.
    """
    mine = (claim.c.annotator_id == who, claim.c.project_id == project_id)
    place = connection.execute(select(func.count()).select_from(claim).where(*mine)).scalar_one()
    lot = _lot(project_id, who, place)
    if lot < shares.gold:
        return _gold(connection, project_id, who, kinds, place)
    if lot < shares.gold + shares.repeat:
        return _repeat(connection, project_id, who, kinds, place)
    return None


def _gold(connection: Connection, project_id: int, who: int, kinds: Sequence[str], place: int) -> int | None:
    seen = exists().where(claim.c.item_id == item.c.id, claim.c.annotator_id == who)
    query = select(item.c.id).where(item.c.project_id == project_id, item.c.purpose == "gold", item.c.free > 0, ~seen)
    if kinds:
        query = query.where(item.c.kind.in_(kinds))
    return _one_of(list(connection.execute(query.order_by(item.c.id).limit(_LOOKED_AT)).scalars()), who, place)


def _repeat(connection: Connection, project_id: int, who: int, kinds: Sequence[str], place: int) -> int | None:
    # One that was given back comes again.
    held = exists().where(claim.c.item_id == item.c.id, claim.c.annotator_id == who)
    given_back = select(item.c.id).where(item.c.only_for == who, item.c.repeats.is_not(None), item.c.free > 0, ~held)
    if kinds:
        given_back = given_back.where(item.c.kind.in_(kinds))
    waiting = connection.execute(given_back.where(item.c.project_id == project_id).limit(1)).scalar_one_or_none()
    if waiting is not None:
        return waiting
    again = item.alias("again")
    repeated = exists().where(again.c.repeats == item.c.id, again.c.only_for == who)
    wanted = [kind for kind in REPEATED if kind in kinds] if kinds else REPEATED
    query = (
        select(item.c.id, standing.c.number)
        .join(standing, standing.c.item_id == item.c.id)
        .where(standing.c.annotator_id == who, standing.c.project_id == project_id, standing.c.name == "")
        .where(item.c.overlap > 0, item.c.purpose == "", item.c.repeats.is_(None), item.c.kind.in_(wanted))
        .order_by(standing.c.number.desc())
        .limit(REPEAT_GAP + _LOOKED_AT)
    )
    judged = [row.id for row in connection.execute(query)][REPEAT_GAP:]
    fresh = list(connection.execute(select(item.c.id).where(item.c.id.in_(judged), ~repeated)).scalars())
    chosen = _one_of(sorted(fresh), who, place)
    return None if chosen is None else _repeated(connection, chosen, who)


def _repeated(connection: Connection, item_id: int, who: int) -> int:
    """A copy of an item for one annotator."""
    one = connection.execute(select(item).where(item.c.id == item_id)).one()
    row = {
        **one._asdict(),
        "key": key_of(one.key, REPEAT, who),
        "gold": None,
        "reason": "",
        "overlap": 1,
        "free": 1,
        "repeats": item_id,
        "only_for": who,
        "created": now(),
    }
    del row["id"]
    made = connection.execute(insert(item).returning(item.c.id), row).scalar_one()
    places = connection.execute(select(item_completion).where(item_completion.c.item_id == item_id)).all()
    if places:
        connection.execute(insert(item_completion), [{**one._asdict(), "item_id": made} for one in places])
    return made


def _one_of(found: Sequence[int], who: int, place: int) -> int | None:
    return found[int(_lot("which", who, place) * len(found))] if found else None


def _lot(*parts: object) -> float:
    """A number from 0 to 1 that follows from these parts."""
    digest = hashlib.sha256(" ".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
