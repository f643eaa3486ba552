"""Which items are doubtful, and why: the queue of second opinions and of a reviewer's decisions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import exists, func, select

from steersman.store.judged import CLASSES, JudgedRow
from steersman.store.projects import Project
from steersman.store.schema import event, item
from steersman.store.second_opinions import disagree
from steersman.store.soft import SoftLabel

SURE = 0.9
"""An item with two labels or more is doubtful below this probability of its most probable class."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An item, how probable its most probable class is (None for kinds without classes), its labels, and the reasons.
    `waiting`: one more label of it is wanted already."""

    item: int
    kind: str
    sure: float | None
    labels: int
    waiting: bool
    reasons: tuple[str, ...]


def doubtful_items(found: Project, rows: Sequence[JudgedRow], soft: Mapping[int, SoftLabel]) -> list[Doubtful]:
    """The doubtful items that no reviewer has decided, the least sure first."""
    decided = {row.item for row in rows if row.decided}
    labels: dict[int, list[JudgedRow]] = {}
    for row in rows:
        if not row.decided and not row.repeat and row.gold is None and row.item not in decided:
            labels.setdefault(row.item, []).append(row)
    flags, unjudgeable, waiting = _said(found, "flag"), _said(found, "skip", like="cannot judge"), _waiting(found)
    listed: list[Doubtful] = []
    for number in sorted(labels.keys() | (flags.keys() - decided) | (unjudgeable.keys() - decided)):
        given = labels.get(number, [])
        kind = given[0].kind if given else flags.get(number, unjudgeable.get(number, ("", 0)))[0]
        sure = soft[number].sure if number in soft and given else None
        reasons = _reasons(given, sure)
        if number in flags:
            reasons.append(_times(flags[number][1], "flagged"))
        if number in unjudgeable:
            reasons.append(_times(unjudgeable[number][1], "cannot be judged, said"))
        if reasons:
            listed.append(Doubtful(number, kind, sure, len(given), number in waiting, tuple(reasons)))
    return sorted(listed, key=lambda one: (one.sure if one.sure is not None else 0.5, -one.labels, one.item))


def _reasons(given: Sequence[JudgedRow], sure: float | None) -> list[str]:
    if not given:
        return []
    kind = given[0].kind
    found: list[str] = []
    if disagree(kind, [row.verdict for row in given]):
        classes = CLASSES.get(kind)
        counts = Counter(classes[row.label] for row in given if row.label is not None) if classes else Counter[str]()
        said = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        found.append(f"labels disagree{': ' if said else ''}{said}")
    elif sure is not None and len(given) > 1 and sure < SURE:
        found.append("labels of annotators who are not reliable")
    if len(given) == 1 and given[0].verdict.get("margin") == 1.0:
        found.append("one label, which says barely better")
    return found


def _times(count: int, words: str) -> str:
    return f"{words} by {count}" if count > 1 else f"{words} by one"


def _said(found: Project, kind: str, like: str = "") -> dict[int, tuple[str, int]]:
    """The kind of task of each item about which events of a kind stand, and how many."""
    undo = event.alias("undo")
    undone = exists().where(undo.c.project_id == found.id, undo.c.refers == event.c.number, undo.c.kind == "undo")
    query = (
        select(event.c.item_id, item.c.kind, func.count(func.distinct(event.c.annotator_id)).label("people"))
        .join(item, item.c.id == event.c.item_id)
        .where(event.c.project_id == found.id, event.c.kind == kind, ~undone)
        .group_by(event.c.item_id, item.c.kind)
    )
    if like:
        query = query.where(event.c.body.like(f"%{like}%"))
    with found.database.read() as connection:
        return {row.item_id: (row.kind, row.people) for row in connection.execute(query)}


def _waiting(found: Project) -> set[int]:
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.free > 0, item.c.purpose == "")
    with found.database.read() as connection:
        return set(connection.execute(query).scalars())
