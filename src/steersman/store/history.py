"""Import of a terminal's history: its judgements, skips and undos as events, in their order.

Each event's key follows from all events before it, so a history that has grown is imported again from where it stopped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from steersman.records import from_dict
from steersman.store.content import key_of, parts_of
from steersman.store.events import NewEvent, append, known_keys
from steersman.store.imports import Wishes
from steersman.store.items import NewItem, batches, put_items
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.standing import settle

_KINDS = {"judged": "label", "adopted": "label", "undone": "undo", "skipped": "skip", "revisited": "revisit"}


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """A line of a history. `record` names the judgement that it makes or takes back, `held` is that record as a row."""

    event: str
    annotator: str
    record: str
    held: Mapping[str, Any] | None
    said: Mapping[str, Any]


@dataclass
class _Past:
    """What of the history is in the store so far."""

    key: str = ""
    numbers: dict[str, int] = field(default_factory=dict[str, int])  # of each record's last label, and skipped item's
    threads: dict[str, tuple[int, int, str]] = field(default_factory=dict[str, tuple[int, int, str]])
    labels: int = 0
    repeated: int = 0


def import_history(found: Project, events: Iterable[HistoryEvent], wishes: Wishes) -> tuple[int, int]:
    """Import a history. Returns how many of its labels are new, and how many were there already."""
    past = _Past()
    for batch in batches(events):
        with found.database.write() as connection:
            for one in batch:
                _import_event(connection, found, one, wishes, past)
    return past.labels, past.repeated


def _import_event(connection: Connection, found: Project, one: HistoryEvent, wishes: Wishes, past: _Past) -> None:
    past.key = key = "terminal-" + key_of(past.key, dict(one.said))
    locked = lock_project(connection, found)
    who = annotators_named(connection, found.id, [one.annotator])[one.annotator]
    kind, known = _KINDS.get(one.event, "session"), known_keys(connection, found.id, [key])
    acted = one.record or str(one.said.get("item", ""))
    if kind == "label" and one.held is not None:
        content, judged = parts_of(from_dict(one.held))
        assert judged is not None
        item_id = put_items(connection, found, [NewItem(content, wishes.round)])[0]
        past.threads[acted] = (item_id, who, one.record[:180])
        new = NewEvent("label", key, item_id, who, one.record[:180], body=judged.verdict)
    elif kind == "undo":
        item_id, _, name = past.threads.get(acted, (None, who, ""))
        new = NewEvent("undo", key, item_id, who, name, past.numbers.get(acted), _rest(one))
    else:
        new = NewEvent(kind, key, None, who, body=_rest(one))
    if key in known:
        number = known[key].number
        past.repeated += kind == "label"
    else:
        number = append(connection, locked, [new])[0]
        past.labels += kind == "label"
        if kind in ("label", "undo") and acted in past.threads:
            settle(connection, found.id, past.threads[acted])
    if kind in ("label", "skip"):
        past.numbers[acted] = number


def _rest(one: HistoryEvent) -> dict[str, Any]:
    return {name: value for name, value in one.said.items() if name not in ("event", "annotator", "held")}
