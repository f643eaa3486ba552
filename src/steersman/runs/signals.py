"""Graceful stop: SIGTERM, SIGINT and SIGUSR1 (Slurm's warning) ask the loop to save and stop. A second Ctrl-C
aborts."""

import signal
import threading
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """A context manager in which the first signal sets `requested` to its name. The loop checks it between steps.

    A SIGINT after that raises KeyboardInterrupt at once. Further SIGTERMs change nothing, because launchers repeat
    them. Outside the main thread no handler can be installed; only `request` sets `requested` there.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def request(self, reason: str) -> None:
        """Request a stop from inside the program. The first reason is kept."""
        if self.requested is None:
            self.requested = reason

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request(signal.Signals(number).name)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            # None: the handler was not installed from Python, so Python cannot restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
