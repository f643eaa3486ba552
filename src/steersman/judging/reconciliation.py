"""Comparison of a label file with its history: which records stand, and in what the two differ. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from steersman.judging.history import Standing, line_of
from steersman.judging.verdicts import Judgement
from steersman.records import to_dict

NAMED = 5  # ids that a message lists; it counts the others


@dataclass(slots=True)
class Reconciliation:
    """The records that stand, with their lines, and the ids in which the label file differs from its history.

    `altered`, `missing`, `doubled` and `undone` are repaired; `unknown` and `id_only` (known by id only) are added to
    the history; `lost` cannot be repaired. `unreadable` holds the reasons of lines that are no judgements.
    """

    records: dict[str, Judgement] = field(default_factory=dict)
    lines: dict[str, bytes] = field(default_factory=dict)
    altered: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    id_only: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    interrupted: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.altered or self.missing or self.doubled or self.undone or self.unreadable)

    @property
    def overwritten(self) -> bool:
        """Whether a repair replaces lines that are not in the history."""
        return bool(self.altered or self.unreadable or self.doubled)


def compare(lines: Sequence[bytes], history: Standing, read: Callable[[bytes, int], Judgement | str]) -> Reconciliation:
    """The comparison of these lines with a history. `read` gives a line's record, or the reason why it has none."""
    found = Reconciliation()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = read(line, number)
        if isinstance(record, str):
            found.unreadable.append(record)
        elif record.id in found.records:
            found.doubled.append(record.id)
        elif record.id in history.undone:
            found.undone.append(record.id)
        else:
            _place(found, record, line, history)
    known = {name: held for name, held in history.records.items() if name not in found.records}
    for name, held in known.items():
        if held is not None:
            _place(found, held, line_of_record(held), history)
            _note_missing(found, held)
        elif name == history.newest:  # it was interrupted before it was acknowledged
            found.interrupted = name
        else:
            found.lost.append(name)
    return found


def _place(found: Reconciliation, record: Judgement, line: bytes, history: Standing) -> None:
    held = history.records.get(record.id)
    if held is not None and held != record:
        found.altered.append(record.id)
        record, line = held, line_of_record(held)
    elif record.id not in history.records:
        found.unknown.append(record.id)
    elif held is None:
        found.id_only.append(record.id)
    found.records[record.id], found.lines[record.id] = record, line


def _note_missing(found: Reconciliation, held: Judgement) -> None:
    """Note a record as missing, or as altered if an unknown record differs from it in its id alone."""
    twin = next((name for name in found.unknown if replace(found.records[name], id=held.id) == held), None)
    if twin is None:
        found.missing.append(held.id)
        return
    found.unknown.remove(twin)
    del found.records[twin], found.lines[twin]
    found.altered.append(held.id)


def in_words(found: Reconciliation, file: str, former: str) -> list[str]:
    """What was repaired, and what was taken as it is, one line each. `former` names the copy of the file as it was."""
    said = [
        (found.missing, "missing", "written back from the history"),
        (found.altered, "altered", "written back from the history"),
        (found.doubled, "there twice", "the later copy is removed"),
        (found.undone, "undone but still there", "removed"),
        (found.unknown, "not in the history", "taken as in the file"),
    ]
    lines = [f"{file}: {count(ids)} {was} ({named(ids)}): {done}" for ids, was, done in said if ids]
    if found.unreadable:
        lines.append(f"{file}: {len(found.unreadable)} unreadable lines removed; their judgements are in the history")
    return [*lines, f"the file as it was is kept as {former}"] if former else lines


def count(ids: Sequence[str]) -> str:
    return f"{len(ids)} judgement{'' if len(ids) == 1 else 's'}"


def named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def line_of_record(record: Judgement) -> bytes:
    return line_of(to_dict(record))
