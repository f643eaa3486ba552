"""The numbers of a run, one JSON line a row: a step, a time, names and values. Written whole, read with a cursor.

NaN and infinities are no JSON: they are stored as null, and `not_finite` beside them says which and what they were.
A row is one unbuffered write, so that a killed process loses at most the row it was writing.
"""

import json
import math
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from steersman.errors import SteersmanError, UsageError
from steersman.records import Malformed
from steersman.runs.folder import atomic_write_bytes, not_written
from steersman.runs.old_names import RENAMED, under_new_names

# A cursor is offset * MARKS + a checksum of the bytes before the offset, so that a journal cut and grown again since is
# noticed. It stays an exact integer in JavaScript for journals up to two terabytes.
MARKS = 4096
MARKED_BYTES = 64
TAIL_BYTES = 1 << 16
RESERVED = ("step", "time", "not_finite")


@runtime_checkable
class Sink(Protocol):
    """Somewhere else that the numbers go: TensorBoard, Weights & Biases."""

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None: ...

    def truncate_to(self, step: int) -> None: ...

    def close(self) -> None: ...


class Journal:
    """Appends to a journal; a line that an earlier, killed process left half written is cut off first."""

    def __init__(self, path: Path, sinks: Sequence[Sink] = (), clock: Callable[[], float] = time.time) -> None:
        self.path, self._sinks, self._clock = path, tuple(sinks), clock
        self._descriptor = self._open()
        self._cut_torn_line()

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def _cut_torn_line(self) -> None:
        size = end = os.fstat(self._descriptor).st_size
        while end > 0:
            start = max(0, end - TAIL_BYTES)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(self._descriptor, end)

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one row. It needs a `step`; `time` is now unless given; values are numbers, texts or None."""
        step = row.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise UsageError(f"a journal row needs a whole number as its step; seen {step!r}")
        if "not_finite" in row:
            raise UsageError("`not_finite` is the journal's own field; name the number otherwise")
        moment = float(row.get("time", self._clock()))
        values = {name: _plain(name, value) for name, value in row.items() if name not in RESERVED}
        odd = {name: str(v) for name, v in values.items() if isinstance(v, float) and not math.isfinite(v)}
        stored = {"step": step, "time": moment, **{k: None if k in odd else v for k, v in values.items()}}
        if odd:
            stored["not_finite"] = odd
        self._append(json.dumps(stored, allow_nan=False).encode() + b"\n")
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        for sink in self._sinks:
            sink.write(step, moment, numbers)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise SteersmanError(not_written(self.path, size + len(line), error)) from error

    def truncate_to(self, step: int) -> None:
        """Drops the rows after `step`, for a run resumed there: no row is then missing or doubled."""
        truncate_lines(self.path, step)
        os.close(self._descriptor)
        self._descriptor = self._open()
        for sink in self._sinks:
            sink.truncate_to(step)

    def sync(self) -> None:
        """Forces the rows so far to the disk; called before a checkpoint that goes with them."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1
            for sink in self._sinks:
                sink.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _plain(name: str, value: Any) -> float | int | str | None:
    """A bool, int, float, text or None as it is; a scalar array or tensor as its number."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    size = getattr(value, "size", None)  # numpy's count of elements, torch's method that gives the shape
    if size == 1 or (callable(size) and math.prod(cast(Any, size())) == 1):
        return value.item()
    raise UsageError(f"the journal takes numbers; {name!r} is a {type(value).__name__}. Write its mean, or a sample.")


def truncate_lines(path: Path, step: int) -> None:
    """Drops, all at once, the JSON lines whose `step` is after `step`, and those that cannot be read; the rest stay as
    they are to the byte."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows = [(line, _parse(line)) for line in lines if line.endswith(b"\n")]
    kept = [line for line, row in rows if row is not None and row["step"] <= step]
    if len(kept) != len(lines):
        atomic_write_bytes(path, b"".join(kept))


def read_rows(path: Path, since: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The rows after the cursor `since`, and the cursor for the next call; 0 begins at the beginning.

    A half-written last line is left for the next call; a damaged line is passed over (`malformed_lines` names them).
    When the journal has been cut since (see `continues`) the rows come from the beginning again.
    """
    if not path.exists():
        return [], 0
    offset = since // MARKS if continues(path, since) else 0
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
        end = data.rfind(b"\n") + 1
        rows = _rows_of(data[:end])
        cursor = (offset + end) * MARKS + _mark(file, offset + end)
    return rows, cursor


def continues(path: Path, since: int) -> bool:
    """Whether the cursor still stands where it was taken; False after a resume cut the journal before it."""
    if since <= 0 or not path.exists():
        return since == 0
    offset, mark = divmod(since, MARKS)
    with path.open("rb") as file:
        return offset <= os.fstat(file.fileno()).st_size and mark == _mark(file, offset)


def _mark(file: Any, offset: int) -> int:
    start = max(0, offset - MARKED_BYTES)
    file.seek(start)
    return zlib.crc32(file.read(offset - start)) % MARKS


def last_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The last rows, at most `count`, without reading the whole of a long journal."""
    if not path.exists():
        return []
    size, window = path.stat().st_size, TAIL_BYTES
    while True:
        with path.open("rb") as file:
            file.seek(max(0, size - window))
            data = file.read()
        whole = data if window >= size else data[data.find(b"\n") + 1 :]
        rows = _rows_of(whole[: whole.rfind(b"\n") + 1])
        if len(rows) >= count or window >= size:
            return rows[-count:] if count else []
        window *= 4


def malformed_lines(path: Path) -> list[Malformed]:
    """Every whole line that is no row, by number. The half-written last line of a killed process is not among them."""
    data = path.read_bytes() if path.exists() else b""
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return [
        Malformed(str(path), number, "not a journal row", line[:80].decode(errors="replace"))
        for number, line in enumerate(lines, start=1)
        if _parse(line) is None
    ]


def _rows_of(data: bytes) -> list[dict[str, Any]]:
    """The rows in whole lines; what an earlier release called otherwise comes under its name of today."""
    return [under_new_names(row) for line in data.splitlines() if (row := _parse(line)) is not None]


def old_names_in(path: Path) -> dict[str, str]:
    """The names of an earlier release that this journal uses, each with its name of today."""
    data = path.read_bytes() if path.exists() else b""
    return {old: new for old, new in RENAMED.items() if f'"{old}"'.encode() in data}


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
