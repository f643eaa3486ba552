"""A polite end: SIGTERM, SIGINT and SIGUSR1 (Slurm's warning) ask the loop to save and stop; a second Ctrl-C does not ask."""

import signal
import threading
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Within `with`, the first signal sets `requested` to its name; the loop looks at it between steps.

    A SIGINT after that raises KeyboardInterrupt at once. Further SIGTERMs change nothing: launchers repeat them. Outside
    the main thread no handler can be installed, and only `request` sets it.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def request(self, reason: str) -> None:
        """Asks for the same end from inside the program; the first reason stays."""
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
            # None: a handler that was not installed from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
