"""The terminal in raw mode: reads single keys, writes whole pages, and restores the terminal's state on exit.

Signals never interrupt a write. They arrive between keys, as the keys "interrupt", "terminate" and "resize".
"""

import os
import select
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from steersman.errors import UsageError
from steersman.judging.keys import KeyDecoder

ESCAPE_SECONDS = 0.15  # maximum delay of the rest of an escape sequence after its first byte; ssh may split them
# _ENTER: alternate screen, no automatic wrap, bracketed paste. _LEAVE undoes these, shows the cursor, resets colours,
# and clears the screen of terminals that have no alternate one.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?7l\x1b[?2004h", "\x1b[0m\x1b[H\x1b[J\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
_SIGNALS = {"SIGINT": "interrupt", "SIGTERM": "terminate", "SIGHUP": "terminate", "SIGWINCH": "resize"}


def require_terminal() -> None:
    """Raise UsageError if input or output is not an interactive terminal."""
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if not stream.isatty():
            raise UsageError(
                f"`steersman label` needs a terminal, but its {name} is a pipe or a file. Run it in a terminal window; "
                "over ssh use `ssh -t HOST steersman label …`, in a container `docker run -it …`"
            )
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("this terminal cannot move the cursor (TERM is dumb or unset); try TERM=xterm-256color")
    try:
        import termios  # noqa: F401
    except ImportError as missing:
        raise UsageError("this system has no POSIX terminal; on Windows run `steersman label` inside WSL") from missing


class Terminal:
    """A context manager in which keys are read one by one without echo, on the alternate screen."""

    def __init__(self, keyboard: int = 0, page: int = 1) -> None:
        self._in, self._out = keyboard, page
        self._decoder = KeyDecoder()
        self._keys: deque[str] = deque()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Terminal":
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        os.close(self._wake)
        os.close(self._waker)

    def size(self) -> tuple[int, int]:
        """The terminal's size: columns and rows."""
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            size = shutil.get_terminal_size()
        return (size.columns, size.lines) if size.columns and size.lines else (80, 24)

    def write(self, text: str) -> bool:
        """Write all of the text. Returns False if the terminal has gone (its window was closed)."""
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except BlockingIOError:
                select.select([], [self._out], [])
            except OSError:
                self._keys.append("terminate")
                return False
        return True

    def key(self) -> str:
        """Wait for the next key and return it."""
        while not self._keys:
            self._wait(ESCAPE_SECONDS if self._decoder.waiting else None)
        return self._keys.popleft()

    def settle(self, seconds: float) -> None:
        """Discard keys typed so far and in the next `seconds`, since nobody has read the new page yet. Keep signals."""
        deadline = time.monotonic() + seconds
        left = seconds
        while left > 0 and "terminate" not in self._keys:
            self._wait(left)
            left = deadline - time.monotonic()
        kept = [key for key in self._keys if key in _SIGNALS.values()]
        self._keys = deque(kept)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A context manager that restores the terminal for an external editor, and takes it again afterwards."""
        self._give_back()
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the editor
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, interrupt)
            self._take()

    def _wait(self, seconds: float | None) -> bool:
        """Wait for bytes or a signal. Returns whether any came; if not, a partial escape sequence is completed."""
        ready, _, _ = select.select([self._in, self._wake], [], [], seconds)
        if self._wake in ready:
            for number in os.read(self._wake, 64):
                self._keys.append(_SIGNALS[signal.Signals(number).name])
        if self._in in ready:
            try:
                data = os.read(self._in, 4096)
            except OSError:
                data = b""
            self._keys.extend(self._decoder.feed(data) if data else ["terminate"])
        if not ready:
            self._keys.extend(self._decoder.flush())
        return bool(ready)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        with suppress(BlockingIOError):
            os.write(self._waker, bytes([number]))

    def _take(self) -> None:
        import termios
        import tty

        self._before = termios.tcgetattr(self._in)
        for name in _SIGNALS:
            number = getattr(signal, name)
            self._handlers[number] = signal.signal(number, self._note_signal)
        tty.setcbreak(self._in, termios.TCSADRAIN)
        mode = termios.tcgetattr(self._in)
        mode[0] &= ~termios.IXON  # Ctrl-S submits, and must not freeze the output
        mode[3] &= ~termios.IEXTEN  # so that Ctrl-V and Ctrl-O are read as keys
        for name in ("VSUSP", "VQUIT"):  # Ctrl-Z is undo; Ctrl-\ would exit without restoring the terminal
            mode[6][getattr(termios, name)] = b"\x00"
        termios.tcsetattr(self._in, termios.TCSADRAIN, mode)
        self.write(_ENTER)

    def _give_back(self) -> None:
        import termios

        if self._before is not None:
            before, self._before = self._before, None
            with suppress(termios.error):
                self.write(_LEAVE)
                termios.tcsetattr(self._in, termios.TCSAFLUSH, before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
