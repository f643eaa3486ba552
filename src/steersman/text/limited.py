"""A limit on how long a chat template may run: a template is a program that comes with a model, and it may loop.

A thread watches the templates that are running and raises an exception in one that is over its limit (CPython's
PyThreadState_SetAsyncExc, which works between two bytecodes, so in any loop of a template). The limit is processor
time, where the system measures it for each thread: a busy machine ends no template.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from steersman.errors import ModelError

T = TypeVar("T")
LIMIT_SECONDS = 10.0
EVERY_SECONDS = 0.25


class OverLimit(BaseException):
    """Raised in the thread of a template that runs too long. No `except Exception` on the way stops it."""


class _Watch:
    """The templates that are running, and the thread that looks at them while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def begin(self) -> None:
        with self._lock:
            self._began[threading.get_ident()] = _seconds_of(threading.get_ident())
            # A forked process has no threads but its own.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="template limit", daemon=True)
                self._thread.start()
        self._wake.set()

    def end(self) -> None:
        with self._lock:
            self._began.pop(threading.get_ident(), None)

    def _look(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(EVERY_SECONDS)
            with self._lock:
                for thread, began in list(self._began.items()):
                    if _seconds_of(thread) - began > LIMIT_SECONDS:
                        del self._began[thread]
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(OverLimit))
                if not self._began:
                    self._wake.clear()


_WATCH = _Watch()


def within_limit(render: Callable[[], T]) -> T:
    """What `render` returns; ModelError if the template does not end within the limit."""
    try:
        _WATCH.begin()
        try:
            return render()
        finally:
            _WATCH.end()
    except OverLimit:
        raise ModelError(
            f"the chat template did not end within {LIMIT_SECONDS:g} s of processor time; it loops, or a conversation "
            "is far too long. Change the template (tokenizer.chat_template), or use another model"
        ) from None


def _seconds_of(thread: int) -> float:
    """The processor time of a thread where the system has it, else the time of day."""
    if hasattr(time, "pthread_getcpuclockid"):
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(thread))
        except OSError:
            return 0.0  # the thread has ended
    return time.monotonic()
