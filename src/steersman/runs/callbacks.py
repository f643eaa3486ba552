"""Callbacks: a researcher's own functions, called while a run trains. Any object with some of these methods is one.

    on_iteration(step, numbers)    after an optimiser step, or an iteration of PPO and its relatives
    on_evaluation(step, numbers)   after a measurement on held-out data
    on_checkpoint(step, folder)    after a checkpoint was written

`numbers` are those of the journal's row. Process 0 calls them, in the thread that trains: what they take, training
waits for.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from steersman.errors import SteersmanError, UsageError

METHODS = ("on_iteration", "on_evaluation", "on_checkpoint")
_HELD_OUT = "held-out"
_ITERATION = ("seconds", "seconds to collect")
"""One of these is in the row of every step or iteration."""
_current: ContextVar[tuple[Any, ...]] = ContextVar("callbacks", default=())


@contextmanager
def calling(callbacks: object) -> Iterator[None]:
    """Context manager: runs that are opened inside call these callbacks (one, or several in their order)."""
    several = tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)
    for one in several:
        _check(one)
    token = _current.set(several)
    try:
        yield
    finally:
        _current.reset(token)


def _check(callback: object) -> None:
    if not any(callable(getattr(callback, name, None)) for name in METHODS):
        raise UsageError(
            f"a callback is an object with one of the methods {', '.join(METHODS)}; seen {type(callback).__name__}"
        )
    close = [name for name in dir(callback) if name.startswith("on_") and name not in METHODS]
    if close:
        raise UsageError(
            f"the callback {type(callback).__name__} has {close[0]!r}, which is never called; expected "
            f"{', '.join(METHODS)}"
        )


class Callbacks:
    """The callbacks of one open run."""

    def __init__(self) -> None:
        self._several = _current.get()

    def row_written(self, row: Mapping[str, Any]) -> None:
        """Call what a row of the journal stands for."""
        numbers = {name: value for name, value in row.items() if name != "step"}
        if any(name in row for name in _ITERATION):
            self._call("on_iteration", int(row["step"]), numbers)
        elif any(name.startswith(_HELD_OUT) for name in row):
            self._call("on_evaluation", int(row["step"]), numbers)

    def checkpoint_written(self, step: int, folder: Path) -> None:
        self._call("on_checkpoint", step, folder)

    def _call(self, name: str, step: int, given: Any) -> None:
        for one in self._several:
            method: Callable[[int, Any], object] | None = getattr(one, name, None)
            if method is None:
                continue
            try:
                # each gets a copy: one that changes it changes nothing for the next
                method(step, dict(given) if isinstance(given, dict) else given)
            except SteersmanError:
                raise
            except Exception as error:
                raise SteersmanError(_raised(one, name, step, error)) from error


def _raised(callback: object, name: str, step: int, error: Exception) -> str:
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)[1:]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return (
        f"the callback {type(callback).__name__}.{name} raised {type(error).__name__}: {error}{place} at step {step}; "
        "the run can be resumed from its last checkpoint"
    )
