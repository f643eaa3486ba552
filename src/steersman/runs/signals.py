"""Graceful stop: SIGTERM, SIGINT and SIGUSR1 (Slurm's warning) ask the loop to save and stop. A second Ctrl-C
aborts. While a command still loads there is nothing to save, and it ends at once.

This file imports nothing heavy: its handlers stand before torch is imported, which takes seconds.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from steersman.printing import write_from_a_signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PREEMPTED = 75
RESUMABLE = (
    *("sft", "sample", "judge", "reward", "classifier", "ppo", "rloo"),
    *("evaluate", "best-of-n", "dpo", "ilql", "online-dpo", "constitution revise", "constitution red-team"),
    *("rounds run", "constitution run"),
)
"""The commands that go on where they stopped when they are called again."""


@contextmanager
def stopping_while_loading(words: Sequence[str]) -> Iterator[None]:
    """Context manager of a command line: inside the block a stop signal ends a resumable command with code 75.

    `StopRequest` takes over when the work has begun.
    """
    handlers: dict[signal.Signals, Any] = {}
    if {" ".join(words[:1]), " ".join(words[:2])} & {
        *RESUMABLE
    } and threading.current_thread() is threading.main_thread():
        handlers = {number: signal.signal(number, _leave) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        _restore(handlers)


def _leave(number: int, _: FrameType | None) -> None:
    """End at once. An exception would be raised inside an import, and libraries turn those into other errors."""
    _say(f"{signal.Signals(number).name} while loading: stopped, and nothing is lost; run the same command again")
    os._exit(PREEMPTED)


def _say(words: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        write_from_a_signal(f"\nsteersman: {words}\n")


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # None: the handler was not installed from Python, so Python cannot restore it.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


class StopRequest:
    """A context manager in which the first signal sets `requested` to its name. The loop checks it between steps.

    A SIGINT after that raises KeyboardInterrupt at once. Further SIGTERMs change nothing, because launchers repeat
    them. Outside the main thread no handler can be installed; only `request` sets `requested` there.

    On the command line a signal before `begin` ends the process, as in `stopping_while_loading`.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self.before_leaving: Callable[[str], None] = lambda signal: None
        """Called with the signal's name when one ends the process before `begin`."""
        self._begun = False
        self._before: dict[signal.Signals, Any] = {}

    def begin(self) -> None:
        """From now on there is work that a signal must not lose."""
        self._begun = True

    def request(self, reason: str) -> None:
        """Request a stop from inside the program. The first reason is kept."""
        if self.requested is None:
            self.requested = reason

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._begun and self._before.get(signal.Signals(number)) is _leave:
            try:
                self.before_leaving(signal.Signals(number).name)
            finally:
                _leave(number, frame)
        if self.requested is None:
            _say(
                f"{signal.Signals(number).name}: stopping after this step, with everything saved (Ctrl-C "
                f"{'again ' if number == signal.SIGINT else ''}ends it at once, without)"
            )
        self.request(signal.Signals(number).name)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        _restore(self._before)
        self._before.clear()
