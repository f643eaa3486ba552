"""The label file on disk: native records, each fsynced. An undo removes the last line.

There are two more files: `labels.jsonl.history` (`history`: every judgement, skip and undo, with the record) and
`labels.jsonl.draft` (unfinished answers). Each action is written to the history first, then to the label file. On
opening, the label file is compared with its history and repaired from it; `notices` says what differed. See
docs/decisions/0010-label-file.md.
"""

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steersman.errors import DataError
from steersman.judging.history import History, SaveError, acts_of, append, line_of, what_stands
from steersman.judging.queue import prompt_key
from steersman.judging.reconciliation import Reconciliation, compare, count, in_words, line_of_record, named
from steersman.judging.verdicts import Judgement, item_of
from steersman.records import Comparison, Demonstration, Ranking, from_dict, to_dict
from steersman.runs.folder import aside, atomic_write_bytes, fsync_path

__all__ = ["Ledger", "SaveError"]

KIND_FOR = {"compare": Comparison, "rank": Ranking, "demonstrate": Demonstration}


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
        self.draft_path = path.with_name(path.name + ".draft")
        self.acts: list[Act] = []
        self.notices: list[str] = []
        self._history = History(path)
        self._labels = -1

    def __enter__(self) -> "Ledger":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._history.lock()
        try:
            self._settle()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._labels = os.open(self.path, flags, 0o644)
            fsync_path(self.path.parent)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._labels >= 0:
            os.close(self._labels)
        self._labels = -1
        self._history.close()

    @property
    def history_path(self) -> Path:
        return self._history.path

    @property
    def place(self) -> str:
        return str(self.path)

    def scratch(self, item: str) -> Path:
        """The file in which an editor writes the answer to this item."""
        return self.path.with_name(f"{self.path.name}.{item}.md")

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
        line, mark = line_of_record(record), self._history.mark()
        self._note("judged", item=item, record=record.id, held=to_dict(record), **facts)
        try:
            append(self._labels, line)
        except SaveError:
            self._history.take_back(mark)
            raise
        self.acts.append(Act(item, record, len(line)))

    def skip(self, item: str, reason: str, **facts: object) -> None:
        self._note("skipped", item=item, reason=reason, **facts)
        self.acts.append(Act(item, None))

    def undo(self) -> Act | None:
        """Undo the last action that is in effect, of this sitting or an earlier one."""
        if not self.acts:
            return None
        act = self.acts[-1]
        if act.record is None:
            self._note("undone", item=act.item, was="skipped")
        else:
            mark = self._history.mark()
            self._note("undone", item=act.item, was="judged", record=act.record.id, held=to_dict(act.record))
            try:
                self._cut_off(act)
            except OSError:
                self._history.take_back(mark)
                raise
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
        new = aside(self.draft_path)
        new.write_bytes(line_of(drafts))
        new.replace(self.draft_path)

    def draft(self, item: str) -> str:
        """The unfinished answer to this item, or an empty string."""
        return self._drafts().get(self.annotator, {}).get(item, "")

    def _drafts(self) -> dict[str, dict[str, str]]:
        try:
            return json.loads(self.draft_path.read_bytes())
        except (OSError, ValueError):
            return {}

    def _settle(self) -> None:
        """Read both files, repair the label file from the history, and rebuild the list of actions in effect."""
        events = self._history.read()
        found = compare(self._whole_lines(), what_stands(events), self._read)
        self._refuse(found)
        if found.changed:
            former = self._keep_former() if found.overwritten else ""
            self._rewrite(list(found.lines.values()))
        else:
            former = ""
        if not events and found.unknown:
            self.notices = [f"{self.path.name} has no history; its {count(found.unknown)} are taken as in the file"]
        else:
            self.notices = in_words(found, self.path.name, former)
        self._history.append(*self._additions(found))
        mine = {
            name: Act(item_of(record), record, len(found.lines[name]))
            for name, record in found.records.items()
            if record.annotator == self.annotator
        }
        order = acts_of(events, self.annotator)
        placed = [mine.pop(key) if key in mine else Act(item, None) for key, item in order if key in mine or not key]
        self.acts = [*mine.values(), *placed]  # records that are not in the history are older

    def _refuse(self, found: Reconciliation) -> None:
        """Raise DataError for what cannot be repaired, before anything is written."""
        for record in found.records.values():
            self._check_kind(record, self.history_path.name)
        if len(found.unreadable) > len(found.missing):
            raise DataError(f"{found.unreadable[0]}")
        if found.lost:
            raise DataError(
                f"{self.path} lacks {count(found.lost)} that its history names ({named(found.lost)}), and a history of "
                f"an earlier release keeps no records. Restore {self.path.name} from a backup, or move "
                f"{self.history_path.name} away to continue with what is there"
            )

    def _check_kind(self, record: object, where: str) -> None:
        if not isinstance(record, KIND_FOR[self.mode]):
            raise DataError(
                f"{where} holds a {type(record).__name__.lower()}, but --mode {self.mode} writes "
                f"{KIND_FOR[self.mode].__name__.lower()}s; choose another file with --out, or use the other mode"
            )

    def _additions(self, found: Reconciliation) -> list[dict[str, object]]:
        """The events that make the history complete: records that only the file has, and an interrupted judgement."""
        rows: list[dict[str, object]] = []
        if found.interrupted:
            rows.append(
                {
                    "event": "undone",
                    "time": self._now(),
                    "annotator": self.annotator,
                    "item": found.interrupted.rpartition("-")[0],
                    "was": "interrupted",
                    "record": found.interrupted,
                }
            )
        for record in (found.records[name] for name in (*found.unknown, *found.id_only)):
            facts = {"event": "adopted", "time": self._now(), "annotator": record.annotator}
            rows.append({**facts, "item": item_of(record), "record": record.id, "held": to_dict(record)})
        return rows

    def _keep_former(self) -> str:
        """Copy the label file to an unused name before lines in it are replaced. Returns the name."""
        names = (self.path.with_name(f"{self.path.name}.former-{number}") for number in itertools.count(1))
        former = next(path for path in names if not path.exists())
        atomic_write_bytes(former, self.path.read_bytes())
        return former.name

    def _whole_lines(self) -> list[bytes]:
        """The lines of the label file. An incomplete last line was never acknowledged and is removed. A complete one
        without a line end gets it."""
        data = self.path.read_bytes() if self.path.exists() else b""
        body, tail = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
        if tail:
            if _is_json(tail):
                body += tail + b"\n"
            atomic_write_bytes(self.path, body)
        return [line + b"\n" for line in body.split(b"\n")[:-1]]

    def _read(self, line: bytes, number: int) -> Judgement | str:
        """The record in a line, or the reason why there is none. A record of another mode is an error."""
        where = f"{self.path}:{number}"
        try:
            record = from_dict(json.loads(line))
        except (ValueError, RecursionError) as broken:
            return f"{where}: not a judgement in the native format: {broken}"
        self._check_kind(record, where)
        return record  # pyright: ignore[reportReturnType]

    def _note(self, event: str, **facts: object) -> None:
        self._history.append({"event": event, "time": self._now(), "annotator": self.annotator, **facts})

    def _cut_off(self, act: Act) -> None:
        assert act.record is not None
        size = os.fstat(self._labels).st_size
        with self.path.open("rb") as file:
            file.seek(max(0, size - act.size))
            at_end = file.read() == line_of_record(act.record)
        if at_end:
            os.ftruncate(self._labels, size - act.size)
            os.fsync(self._labels)
            return
        # Another annotator's judgements follow in this file, or a line was edited: rewrite the file.
        lines = [(line, self._read(line, number)) for number, line in enumerate(self._whole_lines(), 1)]
        self._rewrite([line for line, record in lines if getattr(record, "id", "") != act.record.id])

    def _rewrite(self, lines: list[bytes]) -> None:
        atomic_write_bytes(self.path, b"".join(lines))
        if self._labels >= 0:
            os.close(self._labels)
            self._labels = os.open(self.path, os.O_WRONLY | os.O_APPEND)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
