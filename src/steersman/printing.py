"""The one way out to the terminal. Everything that is printed passes through here, so that no text from a file, a
model, a service or a name can control the terminal, and no secret is shown.

`print`, `typer.echo` and rich's own Console are used nowhere else (tests/test_architecture.py).
"""

import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from steersman.inert import escaped, inert
from steersman.secrets import conceal

if TYPE_CHECKING:
    from rich.console import Console


_silenced = 0
"""How many `silenced` blocks are open, in any thread."""


@contextmanager
def silenced() -> Iterator[None]:
    """Context manager in which nothing is printed: no result, notice or progress. Errors are raised as ever.

    It holds for all threads, since a run prints from several.
    """
    global _silenced
    _silenced += 1
    try:
        yield
    finally:
        _silenced -= 1


def say(text: str = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print a result to stdout."""
    if not _silenced:
        print(inert(conceal(text)), end=end, flush=flush)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value to stdout as JSON. Control characters are escaped, so that it stays JSON and is inert."""
    if not _silenced:
        print(escaped(json.dumps(value, ensure_ascii=False, indent=indent)))


def tell(text: str) -> None:
    """Print a notice or an error to stderr."""
    write_line(text, sys.stderr)


def write_line(text: str, stream: Any) -> None:
    """Print a line to a stream that the caller chose, and flush it."""
    if not _silenced:
        print(inert(conceal(text)), file=stream, flush=True)


def write_from_a_signal(text: str) -> None:
    """Print to stderr from a signal handler, which may have interrupted a print whose buffer must not be entered
    twice."""
    if not _silenced:
        os.write(2, text.encode())


def show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback to stderr: `sys.excepthook` of the command line."""
    if issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    return tell("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))


def console(**options: Any) -> "Console":
    """A rich Console that prints every text inert and without secrets. Highlighting is off unless asked for."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class InertConsole(Console):
        def render(self, renderable: "RenderableType", options: "ConsoleOptions | None" = None) -> "Iterable[Segment]":
            for segment in super().render(renderable, options):
                # What rich itself sends to move the cursor is marked as control.
                text = segment.text if segment.control else inert(conceal(segment.text))
                yield segment if text is segment.text else Segment(text, segment.style, segment.control)

    return InertConsole(**{"highlight": False, "quiet": bool(_silenced), **options})
