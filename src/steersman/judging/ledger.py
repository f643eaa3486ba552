"""The label file on disk: native records, each fsynced. An undo removes the last line.

There are two more files: `labels.jsonl.history` (append-only: every judgement, skip and undo, with the undone record)
and `labels.jsonl.draft` (unfinished answers). Each action is written to the history first, then to the label file. An
action interrupted in between is completed or dropped on opening. See docs/decisions/0010-label-file.md.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import DataError, RunLocked, SteersmanError
from steersman.judging.queue import prompt_key
from steersman.judging.verdicts import Judgement, item_of
from steersman.records import Comparison, Demonstration, Ranking, from_dict, to_dict

KIND_FOR = {"compare": Comparison, "rank": Ranking, "demonstrate": Demonstration}


class SaveError(SteersmanError):
    """A judgement could not be written and is not in the file. Pressing the same key tries again."""


@dataclass(frozen=True, slots=True)
class Act:
    """An action that is in effect and can be undone: an item judged (with its record) or skipped."""

    item: str
    record: Judgement | None
    size: int = 0  # bytes of the record's line


class Ledger:
    """One annotator's locked label file, as a context manager. A second process on the same file is an error."""

    def __init__(self, path: Path, *, mode: str, annotator: str, now: Callable[[], str]) -> None:
        self.path, self.mode, self.annotator, self._now = path, mode, annotator, now
        self.history_path = path.with_name(path.name + ".history")
        self.draft_path = path.with_name(path.name + ".draft")
        self.acts: list[Act] = []
        self._history = self._labels = -1

    def __enter__(self) -> "Ledger":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._settle()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._labels = os.open(self.path, flags, 0o644)
            _sync_folder(self.path.parent)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for handle in (self._labels, self._history):
            if handle >= 0:
                os.close(handle)
        self._labels = self._history = -1

    @property
    def judged(self) -> set[str]:
        return {act.item for act in self.acts if act.record is not None}

    @property
    def skipped(self) -> set[str]:
        return {act.item for act in self.acts if act.record is None}

    @property
    def records(self) -> list[Judgement]:
        return [act.record for act in self.acts if act.record is not None]

    def check_prompts(self, known: set[str], source: str) -> None:
        """Raise DataError if the file has judgements of other prompts, so that two tasks are not mixed in one file."""
        foreign = [record for record in self.records if prompt_key(record.prompt) not in known]
        if foreign:
            raise DataError(
                f"{self.path} holds {len(foreign)} judgements of prompts that are not in {source}: it belongs to "
                "another task. Choose another file with --out, or give the answers that it was made from"
            )

    def open_sitting(self, **facts: object) -> None:
        self._note("opened", **facts)

    def judge(self, item: str, record: Judgement, **facts: object) -> None:
        """Save a judgement; it is on disk when this returns. If writing fails, nothing is saved and SaveError says
        why."""
        line = _line_of(to_dict(record))
        self._note("judged", item=item, record=record.id, **facts)
        self._append(self._labels, line)
        self.acts.append(Act(item, record, len(line)))

    def skip(self, item: str, reason: str, **facts: object) -> None:
        self._note("skipped", item=item, reason=reason, **facts)
        self.acts.append(Act(item, None))

    def undo(self) -> Act | None:
        """Undo the last action that is in effect, of this session or an earlier one."""
        if not self.acts:
            return None
        act = self.acts[-1]
        if act.record is None:
            self._note("undone", item=act.item, was="skipped")
        else:
            self._note("undone", item=act.item, was="judged", record=act.record.id, held=to_dict(act.record))
            self._cut_off(act)
        return self.acts.pop()

    def revisit(self) -> int:
        """Put skipped items back into the queue. Returns their number."""
        skipped = self.skipped
        if skipped:
            self._note("revisited", items=sorted(skipped))
            self.acts = [act for act in self.acts if act.record is not None]
        return len(skipped)

    def save_draft(self, item: str, text: str) -> None:
        """Save an unfinished answer after every key. It is not fsynced, so it survives a crash of the program at once,
        one of the machine only after some seconds."""
        drafts = self._drafts()
        mine = drafts.setdefault(self.annotator, {})
        if mine.get(item, "") == text:
            return
        mine[item] = text
        if not text:
            del mine[item]
        if not any(drafts.values()):
            self.draft_path.unlink(missing_ok=True)
            return
        aside = self.draft_path.with_name(self.draft_path.name + ".new")
        aside.write_bytes(_line_of(drafts))
        aside.replace(self.draft_path)

    def draft(self, item: str) -> str:
        """The unfinished answer to this item, or an empty string."""
        return self._drafts().get(self.annotator, {}).get(item, "")

    def _drafts(self) -> dict[str, dict[str, str]]:
        try:
            return json.loads(self.draft_path.read_bytes())
        except (OSError, ValueError):
            return {}

    def _take_lock(self) -> None:
        import fcntl

        self._history = os.open(self.history_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._history, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refused:
            os.close(self._history)
            self._history = -1
            raise RunLocked(
                f"{self.path} is open in another `steersman label`; end that one, or choose another file with --out"
            ) from refused

    def _settle(self) -> None:
        """Read both files, complete an interrupted action, and rebuild the list of actions in effect."""
        events = _events_of(self.history_path, self._history)
        lines = self._whole_lines()
        last = {
            event["record"]: event
            for event in events
            if event.get("event") in ("judged", "undone") and "record" in event
        }
        kept, mine = [], {}
        for number, line in lines:
            record = self._read(line, number)
            if last.get(record.id, {}).get("event") == "undone":
                continue  # undone in the history, but the program ended before the line was removed
            kept.append(line)
            if record.annotator == self.annotator:
                mine[record.id] = Act(item_of(record), record, len(line))
        if len(kept) < len(lines):
            self._rewrite(kept)
        order = _standing([event for event in events if event.get("annotator") == self.annotator])
        placed = [mine.pop(key) if key in mine else Act(item, None) for key, item in order if key in mine or not key]
        self.acts = [*mine.values(), *placed]  # records that are not in the history are older

    def _whole_lines(self) -> list[tuple[int, bytes]]:
        """The lines of the label file. An incomplete last line was never acknowledged and is removed. A complete one
        without a line end gets it."""
        data = self.path.read_bytes() if self.path.exists() else b""
        body, tail = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
        if tail:
            if _is_json(tail):
                body += tail + b"\n"
            _replace(self.path, body)
        lines = body.split(b"\n")
        return [(number, line + b"\n") for number, line in enumerate(lines, 1) if line.strip()]

    def _read(self, line: bytes, number: int) -> Judgement:
        try:
            record = from_dict(json.loads(line))
        except (ValueError, AttributeError) as broken:
            raise DataError(f"{self.path}:{number}: not a judgement in the native format: {broken}") from broken
        if not isinstance(record, KIND_FOR[self.mode]):
            raise DataError(
                f"{self.path}:{number} holds a {type(record).__name__.lower()}, but --mode {self.mode} writes "
                f"{KIND_FOR[self.mode].__name__.lower()}s; choose another file with --out, or use the other mode"
            )
        return record  # pyright: ignore[reportReturnType]

    def _note(self, event: str, **facts: object) -> None:
        row = {"event": event, "time": self._now(), "annotator": self.annotator, **facts}
        self._append(self._history, _line_of(row))

    def _append(self, handle: int, line: bytes) -> None:
        before = os.fstat(handle).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(handle, line[written:])
            os.fsync(handle)
        except OSError as refused:
            os.ftruncate(handle, before)
            raise SaveError(
                f"NOT SAVED ({refused.strerror}). Free some disk space, then press the key again"
            ) from refused

    def _cut_off(self, act: Act) -> None:
        assert act.record is not None
        size = os.fstat(self._labels).st_size
        with self.path.open("rb") as file:
            file.seek(max(0, size - act.size))
            at_end = file.read() == _line_of(to_dict(act.record))
        if at_end:
            os.ftruncate(self._labels, size - act.size)
            os.fsync(self._labels)
            return
        # Another annotator's judgements follow in this file, or a line was edited: rewrite the file.
        lines = [line for number, line in self._whole_lines() if self._read(line, number).id != act.record.id]
        self._rewrite(lines)

    def _rewrite(self, lines: list[bytes]) -> None:
        _replace(self.path, b"".join(lines))
        if self._labels >= 0:
            os.close(self._labels)
            self._labels = os.open(self.path, os.O_WRONLY | os.O_APPEND)


def _standing(events: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The actions of a history that are in effect, oldest first: (record id, item), or ("", item) for a skip."""
    standing: dict[str, str] = {}
    for event in events:
        match event.get("event"):
            case "judged" | "skipped":
                standing.pop(event["item"], None)
                standing[event["item"]] = event.get("record", "")
            case "undone":
                standing.pop(event["item"], None)
            case "revisited":
                standing = {item: record for item, record in standing.items() if record}
    return [(record, item) for item, record in standing.items()]


def _events_of(path: Path, handle: int) -> list[dict[str, Any]]:
    """The complete events of a history. An incomplete last line is removed, so that the next event has its own line."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.ftruncate(handle, len(whole))
    events = []
    for number, line in enumerate(whole.split(b"\n"), 1):
        if not line.strip():
            continue
        if not _is_json(line):
            raise DataError(
                f"{path}:{number}: not a history event; the history is damaged. Move it away to continue without it"
            )
        events.append(json.loads(line))
    return events


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _line_of(row: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8. Escapes are used only if the row has a lone surrogate."""
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode()


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
