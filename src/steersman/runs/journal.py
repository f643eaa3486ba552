"""The journal of a run: its metrics as JSON lines, each with a step, a time, names and values.

JSON has no NaN and infinities: they are stored as null, and the field `not_finite` has their names and values. A row is
one unbuffered write, so a killed process loses at most the row it was writing.
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
from steersman.secrets import concealed

# A cursor is offset * MARKS + a checksum of the bytes before the offset. The checksum detects a journal that was
# truncated and has grown again. A cursor stays an exact integer in JavaScript for journals up to two terabytes.
MARKS = 4096
MARKED_BYTES = 64
TAIL_BYTES = 1 << 16
RESERVED = ("step", "time", "not_finite")


@runtime_checkable
class Sink(Protocol):
    """A logger that also receives the journal's numbers and some of the run's answers: TensorBoard, Weights & Biases,
    MLflow, trackio."""

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None: ...

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def truncate_to(self, step: int) -> None: ...

    def close(self, *, failed: bool = False) -> None: ...


class Journal:
    """A journal opened for appending. A last line that a killed process left half-written is removed first."""

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
        """Append one row. It needs a `step`; `time` is now unless given; values are numbers, strings or None."""
        step = row.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise UsageError(f"a journal row needs an integer step; seen {step!r}")
        if "not_finite" in row:
            raise UsageError("`not_finite` is a reserved field of the journal; give the number another name")
        moment = float(row.get("time", self._clock()))
        values = {name: concealed(_plain(name, value)) for name, value in row.items() if name not in RESERVED}
        odd = {name: str(v) for name, v in values.items() if isinstance(v, float) and not math.isfinite(v)}
        stored = {"step": step, "time": moment, **{k: None if k in odd else v for k, v in values.items()}}
        if odd:
            stored["not_finite"] = odd
        self._append(json.dumps(stored, allow_nan=False).encode() + b"\n")
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        for sink in self._sinks:
            sink.write(step, moment, numbers)

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand answers of this step to the loggers. The journal itself has numbers only."""
        for sink in self._sinks:
            sink.answers(step, name, rows)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise SteersmanError(not_written(self.path, size + len(line), error)) from error

    def truncate_to(self, step: int) -> list[Malformed]:
        """Delete the rows after `step`, for a run that resumes there, so that no row is missing or duplicated. Returns
        the damaged lines, which are moved to a file beside the journal."""
        damaged = truncate_lines(self.path, step)
        os.close(self._descriptor)
        self._descriptor = self._open()
        for sink in self._sinks:
            sink.truncate_to(step)
        return damaged

    def sync(self) -> None:
        """Flush all rows to disk. Called before a checkpoint of the same step is written."""
        os.fsync(self._descriptor)

    def close(self, *, failed: bool = False) -> None:
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1
            for sink in self._sinks:
                sink.close(failed=failed)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close(failed=kind is not None)


def _plain(name: str, value: Any) -> float | int | str | None:
    """A value for JSON: bool, int, float, string or None as it is; a scalar array or tensor as a number."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    size = getattr(value, "size", None)  # numpy's count of elements, torch's method that gives the shape
    if size == 1 or (callable(size) and math.prod(cast(Any, size())) == 1):
        return value.item()
    raise UsageError(f"the journal takes numbers, but {name!r} is a {type(value).__name__}. Write its mean instead.")


def truncate_lines(path: Path, step: int) -> list[Malformed]:
    """Delete, in one atomic write, the JSON lines after `step`. The other lines stay the same byte for byte.

    Damaged lines are moved to a file beside it, `<name>.damaged`, and returned. A half-written last line is deleted.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows = [(line + b"\n", _parse(line)) for line in lines[:-1]]
    kept = [line for line, row in rows if row is not None and row["step"] <= step]
    damaged = malformed_lines(path)
    if damaged:
        with damaged_path(path).open("ab") as file:
            file.write(b"".join(line for line, row in rows if row is None))
            file.flush()
            os.fsync(file.fileno())
    if len(kept) != len(lines) - 1 or lines[-1]:
        atomic_write_bytes(path, b"".join(kept))
    return damaged


def damaged_path(path: Path) -> Path:
    """Where the damaged lines of a journal are kept."""
    return path.with_name(path.name + ".damaged")


def read_rows(path: Path, since: int = 0, *, most: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The rows after the cursor `since`, and the cursor for the next call; 0 is the beginning. `most` is about how many
    bytes are read; the cursor is the same as before when there is nothing more.

    A half-written last line is left for the next call. Damaged lines are skipped (`malformed_lines` lists them). If the
    journal has been truncated since (see `continues`), all rows are returned from the beginning.
    """
    if not path.exists():
        return [], 0
    offset = since // MARKS if continues(path, since) else 0
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(-1 if most is None else most)
        if most is not None and len(data) == most:
            data += file.readline()
        end = data.rfind(b"\n") + 1
        rows = _rows_of(data[:end])
        cursor = (offset + end) * MARKS + _mark(file, offset + end)
    return rows, cursor


def continues(path: Path, since: int) -> bool:
    """Whether the cursor is still valid. False after a resume has truncated the journal before it."""
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
    """The last rows, at most `count`. A long journal is not read whole."""
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
    """All complete lines that are not journal rows, with their numbers. A half-written last line is not included."""
    data = path.read_bytes() if path.exists() else b""
    lines = data.split(b"\n")[:-1]
    return [
        Malformed(str(path), number, "not a journal row", line[:80].decode(errors="replace"))
        for number, line in enumerate(lines, start=1)
        if _parse(line) is None
    ]


def _rows_of(data: bytes) -> list[dict[str, Any]]:
    """The rows in complete lines, with the names of earlier releases replaced by current ones."""
    return [under_new_names(row) for line in data.split(b"\n") if (row := _parse(line)) is not None]


def old_names_in(path: Path) -> dict[str, str]:
    """The names of earlier releases that this journal uses, each with its current name."""
    data = path.read_bytes() if path.exists() else b""
    return {old: new for old, new in RENAMED.items() if f'"{old}"'.encode() in data}


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
