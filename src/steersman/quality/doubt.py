"""Which items are doubtful, and why: the queue of second opinions and of a reviewer's decisions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.store.item_history import said_of_items, waiting_items
from steersman.store.judged import CLASSES, JudgedRow
from steersman.store.projects import Project
from steersman.store.second_opinions import disagree
from steersman.store.soft import SoftLabel

CANNOT = "cannot judge"
"""What the reason of a skip begins with where somebody says so."""
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
    flags, unjudgeable, waiting = (
        said_of_items(found, "flag"),
        said_of_items(found, "skip", like=CANNOT),
        waiting_items(found),
    )
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
    # Where the model knows who is right, a label of somebody unreliable raises no doubt.
    if disagree(kind, [row.verdict for row in given]) and (sure is None or sure < SURE):
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
