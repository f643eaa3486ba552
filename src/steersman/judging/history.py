"""The history of a label file: one event per line, only appended, each with a running hash. It says what was judged.

An event's hash covers the hash before it and the event itself, so an altered, missing or exchanged line is detected at
that line. Events without a hash were written by earlier releases; they may only come first. See
docs/decisions/0010-label-file.md.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.errors import DataError, RunLocked, SteersmanError
from steersman.judging.verdicts import Judgement
from steersman.records import Comparison, Demonstration, Ranking, from_dict

JUDGED = ("judged", "adopted")
Event = dict[str, Any]


class SaveError(SteersmanError):
    """A judgement could not be written and is not in the file. Pressing the same key tries again."""


@dataclass(slots=True)
class Standing:
    """What a history says: the records in effect (None: an earlier release kept only the id), and the undone ids."""

    records: dict[str, Judgement | None] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set[str])
    newest: str = ""  # the record of the last event, whose action may have been interrupted


class History:
    """An open and locked history. A second process that opens it gets RunLocked."""

    def __init__(self, label_path: Path) -> None:
        self.label_path = label_path
        self.path = history_path(label_path)
        self._handle = -1
        self._hash = ""

    def lock(self) -> None:
        import fcntl

        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refused:
            self.close()
            raise RunLocked(
                f"{self.label_path} is open in another `steersman label`; end that one, or choose another file with "
                "--out"
            ) from refused

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def read(self) -> list[Event]:
        """All events, verified. An incomplete last line is removed, so that the next event has its own line."""
        data = self.path.read_bytes()
        events, self._hash = verified(data, self.label_path)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._handle, whole)
        return events

    def append(self, *events: Mapping[str, Any]) -> None:
        """Add events with one write; they are on disk when this returns. If writing fails, none of them is added."""
        lines, digest = [], self._hash
        for event in events:
            digest = _hash(digest, event)
            lines.append(line_of({**event, "hash": digest}))
        if lines:
            append(self._handle, b"".join(lines))
        self._hash = digest

    def mark(self) -> tuple[int, str]:
        """The end of the history, for `take_back`."""
        return os.fstat(self._handle).st_size, self._hash

    def take_back(self, mark: tuple[int, str]) -> None:
        """Remove the events after a mark: their action failed."""
        os.ftruncate(self._handle, mark[0])
        self._hash = mark[1]


def verified(data: bytes, label_path: Path) -> tuple[list[Event], str]:
    """The events of a history and its running hash. An incomplete last line is left out; damage is a DataError."""
    events: list[Event] = []
    running, hashed, old = "", False, hashlib.sha256()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(keepends=True), 1):
        event = _parsed(line)
        if event is None:
            raise _damaged(label_path, number, "not a history event")
        digest = event.pop("hash", None)
        if digest is None and not hashed and "held" not in (event if event["event"] in JUDGED else ()):
            old.update(line)
            running = old.hexdigest()[:16]
        elif digest != _hash(running, event) or line != line_of({**event, "hash": digest}):
            raise _damaged(
                label_path, number, "altered, or a line before it is missing: its running hash does not match"
            )
        else:
            running, hashed = str(digest), True
        events.append(event)
    return events, running


def history_path(label_path: Path) -> Path:
    return label_path.with_name(label_path.name + ".history")


def _damaged(label_path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"{history_path(label_path)}:{number}: {why}. The history is damaged. Restore it from a backup, or move it "
        f"away to continue with the judgements in {label_path.name} as they are"
    )


def what_stands(events: Sequence[Event]) -> Standing:
    """The records in effect, of all annotators, after these events."""
    found = Standing()
    for event in events:
        record = event.get("record", "")
        if record and event["event"] in JUDGED:
            found.undone.discard(record)
            found.records.pop(record, None)
            found.records[record] = _held(event)
        elif record and event["event"] == "undone":
            found.records.pop(record, None)
            found.undone.add(record)
        if event["event"] != "opened":
            found.newest = record
    return found


def acts_of(events: Sequence[Event], annotator: str) -> list[tuple[str, str]]:
    """One annotator's actions in effect, oldest first: (record id, item), or ("", item) for a skip."""
    standing: dict[str, str] = {}
    for event in events:
        if event.get("annotator") != annotator:
            continue
        match event["event"]:
            case "judged" | "adopted" | "skipped":
                standing.pop(event["item"], None)
                standing[event["item"]] = event.get("record", "")
            case "undone":
                standing.pop(event["item"], None)
            case "revisited":
                standing = {item: record for item, record in standing.items() if record}
            case _:
                pass
    return [(record, item) for item, record in standing.items()]


def line_of(row: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8. Escapes are used only if the row has a lone surrogate."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def append(handle: int, data: bytes) -> None:
    """Append and fsync. If that fails, the file is as it was, and SaveError says why."""
    before = os.fstat(handle).st_size
    try:
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])
        os.fsync(handle)
    except OSError as refused:
        os.ftruncate(handle, before)
        raise SaveError(f"NOT SAVED ({refused.strerror}). Free some disk space, then press the key again") from refused


def _hash(before: str, event: Mapping[str, Any]) -> str:
    return hashlib.sha256(before.encode() + line_of(event)).hexdigest()[:16]


def _held(event: Event) -> Judgement | None:
    """The record that an event keeps; None if it keeps none. Raises DataError if it is no judgement."""
    if "held" not in event:
        return None
    record = from_dict(event["held"])
    if not isinstance(record, Comparison | Ranking | Demonstration):
        raise DataError(f"a {type(record).__name__.lower()} is not a judgement")
    return record


def _parsed(line: bytes) -> Event | None:
    """The event in a line, or None if it is not one: each kind of event has the fields that are read later."""
    try:
        event = json.loads(line)
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            return None
        if event["event"] in (*JUDGED, "skipped", "undone") and not isinstance(event.get("item"), str):
            return None
        if event["event"] in JUDGED and not isinstance(event.get("record"), str):
            return None
        _held(event)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event.get("record", ""), str) else None
