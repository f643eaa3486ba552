"""A journal as columns, read from where the last look ended: what reports and the studio draw curves from.

A column has only the rows in which its metric stands, so that a metric of every tenth row costs a tenth.
"""

import math
from array import array
from collections import deque
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, median_high
from typing import TYPE_CHECKING, Any

from steersman.runs.journal import MARKS, RESERVED, continues, read_rows
from steersman.runs.working_time import RESUMED, TOGETHER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AT_ONCE = 1 << 22
"""Bytes of a journal that are read and parsed at a time."""
MOST_NOTICES = 2000


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence of the journal."""

    step: int
    time: float
    text: str


@dataclass(slots=True)
class MetricColumn:
    """A metric: numbers of rows, and its finite values there."""

    rows: MutableSequence[int] = field(default_factory=lambda: array("l"))
    values: MutableSequence[float] = field(default_factory=lambda: array("d"))


class JournalColumns:
    """The metrics of a journal by name. `update` reads what has been written since.

    `began_again` counts how often the journal was cut by a resume, after which everything is read anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began_again = self.bytes_read = 0
        self._begin()

    def _begin(self) -> None:
        self.cursor = 0
        self.steps, self.times = array("q"), array("d")
        self.metrics: dict[str, MetricColumn] = {}
        self.notices: deque[Notice] = deque(maxlen=MOST_NOTICES)
        self.idle = 0.0
        self._pause = 0.0  # between the last notices and the row before them
        self._noticed = -math.inf
        self.names: dict[str, None] = {}

    def update(self) -> int:
        """Read on. Returns how many rows are new."""
        if not continues(self.path, self.cursor):
            self.began_again += 1
            self._begin()
        before = len(self.steps)
        while True:
            rows, cursor = read_rows(self.path, self.cursor, most=AT_ONCE)
            if cursor == self.cursor:
                return len(self.steps) - before
            self.bytes_read += cursor // MARKS - self.cursor // MARKS
            self.cursor = cursor
            for row in rows:
                self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        number, moment = len(self.steps), row.get("time")
        moment = float(moment) if isinstance(moment, int | float) else self.times[-1] if self.times else 0.0
        said = row.get("notice")
        if isinstance(said, str):
            self._notice(Notice(row["step"], moment, said))
        self.steps.append(row["step"])
        self.times.append(moment)
        for name, value in row.items():
            if name in RESERVED or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            self.names[name] = None
            if math.isfinite(value):
                column = self.metrics.get(name)
                if column is None:
                    column = self.metrics[name] = MetricColumn()
                column.rows.append(number)
                column.values.append(value)

    def _notice(self, notice: Notice) -> None:
        """Keep a notice. Where it says that the run was resumed, the time before it was no work; a start writes several
        notices together, and that one is not always the first."""
        if notice.time - self._noticed > TOGETHER and self.times:
            self._pause = max(0.0, notice.time - self.times[-1])
        self._noticed = notice.time
        if notice.text.startswith(RESUMED):
            self.idle, self._pause = self.idle + self._pause, 0.0
        self.notices.append(notice)

    @property
    def seconds(self) -> float:
        """The seconds that the run worked, between its first row and its last."""
        return max(0.0, self.times[-1] - self.times[0] - self.idle) if self.times else 0.0

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, name: str) -> bool:
        return name in self.metrics

    def values(self, name: str, since: int = 0) -> list[tuple[float, float]]:
        """A metric as (step, value) pairs, of the rows from number `since` on."""
        column = self.metrics.get(name)
        if column is None:
            return []
        return [
            (float(self.steps[row]), value)
            for row, value in zip(column.rows, column.values, strict=True)
            if row >= since
        ]

    def last(self, name: str) -> float | None:
        column = self.metrics.get(name)
        return column.values[-1] if column is not None else None

    def curve(self, name: str) -> list[tuple[float, float]]:
        """A metric as it is drawn. The value of a batch of less than half the usual size, such as the last of an epoch,
        is noise: it joins the point before it, each weighted by its batch."""
        sizes = self._batches()
        known = [size for size in sizes if size]
        small = median_high(known) / 2 if known else 0.0
        column = self.metrics.get(name) or MetricColumn()
        points: list[tuple[float, float]] = []
        weight = 0.0
        for row, value in zip(column.rows, column.values, strict=True):
            size = sizes[row]
            if points and 0 < size < small and weight > 0:
                step, mean = points[-1]
                points[-1] = (step, (weight * mean + size * value) / (weight + size))
                weight += size
            else:
                points.append((float(self.steps[row]), value))
                weight = size
        return points

    def drawn(self, name: str) -> "NDArray[np.float64]":
        """A metric as it is drawn (`curve`), as a table of steps and values."""
        import numpy as np

        column = self.metrics.get(name)
        if column is None:
            return np.empty((0, 2))
        if self._has_small_batches():
            return np.array(self.curve(name), dtype=np.float64).reshape(-1, 2)
        rows = np.array(column.rows, dtype=np.int64)
        return np.stack([np.array(self.steps, dtype=np.float64)[rows], np.array(column.values)], axis=1)

    def _has_small_batches(self) -> bool:
        known = [size for size in self._batches() if size > 0]
        return bool(known) and min(known) < median(known) / 2

    @property
    def in_the_loop(self) -> bool:
        """Whether the run trains on its own sampled answers with a KL from the reference: PPO, RLOO, GRPO and
        others."""
        return "KL to reference" in self.names

    def _batches(self) -> MutableSequence[float]:
        """How much the batch of each row held; 0 where that is not known. Runs of before `rows` was kept have tokens,
        whose number says nothing of the batch if the run's own answers become shorter."""
        name = "rows" if "rows" in self.metrics else "" if self.in_the_loop else "tokens"
        found: MutableSequence[float] = array("d", bytes(8 * len(self.steps)))
        column = self.metrics.get(name)
        if column is not None:
            for row, value in zip(column.rows, column.values, strict=True):
                found[row] = value
        return found


def read_columns(path: Path) -> JournalColumns:
    """All of a journal."""
    found = JournalColumns(path)
    found.update()
    return found
