"""Progress of a loop: steps done, time left and up to three metrics. A bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from steersman.printing import console, write_line

NUMBERS_SHOWN = 3


@runtime_checkable
class Stream(Protocol):
    """The output stream that progress is written to: a terminal, a log file, a notebook cell."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class Progress:
    """A progress display. `done` is the step that a resumed run starts from: time left is estimated from the steps
    since."""

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        silent: bool = False,
        stream: Stream | None = None,
        seconds_between_lines: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.done = label, total, done
        self._first, self._silent, self._clock = done, silent, clock
        self._stream: Any = sys.stderr if stream is None else stream
        self._between = seconds_between_lines
        self._numbers: Mapping[str, float] = {}
        self._began = self._updated = self._printed = 0.0
        self._bar: Any = None
        self._shown: tuple[int, str] | None = None

    def __enter__(self) -> "Progress":
        self._began = self._updated = self._printed = self._clock()
        if not self._silent and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._start_bar()
        return self

    def _start_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        left = self._time_left

        class TimeLeft(ProgressColumn):
            """rich's own column forgets steps that are older than 30 seconds, and then shows nothing."""

            def render(self, task: object) -> Text:
                return Text(left())

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeLeft(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console(file=self._stream, highlight=True),
        )
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, numbers="")

    def update(self, done: int, numbers: Mapping[str, float] | None = None) -> None:
        """Report that `done` of `total` steps are done. The first three of `numbers` are shown."""
        self.done, self._updated = done, self._clock()
        self._numbers = self._numbers if numbers is None else numbers
        if self._bar is not None:
            self._bar.update(self._task, completed=done, numbers=self._number_text())
        elif not self._silent and self._clock() - self._printed >= self._between:
            self._print_line()

    def _number_text(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in list(self._numbers.items())[:NUMBERS_SHOWN])

    def _print_line(self) -> None:
        text = self._number_text()
        if self._shown == (self.done, text):
            return
        self._printed, self._shown = self._clock(), (self.done, text)
        percent = 100 * self.done // max(self.total, 1)
        parts = [f"{self.label} {self.done}/{self.total} ({percent} %)", self._time_left(), text]
        write_line("  ".join(part for part in parts if part), self._stream)

    def _time_left(self) -> str:
        steps = self.done - self._first
        if steps <= 0 or self.done >= self.total:
            return ""
        each, to_come = (self._updated - self._began) / steps, self.total - self.done
        # Between two steps the time runs down, until the present step takes longer than those before.
        seconds = round(each * to_come - min(self._clock() - self._updated, each))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif not self._silent:
            self._print_line()
