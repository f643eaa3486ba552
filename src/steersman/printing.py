"""The one way out to the terminal. Everything that is printed passes through here, so that no text from a file, a
model, a service or a name can control the terminal, and no secret is shown.

`print`, `typer.echo` and rich's own Console are used nowhere else (tests/test_architecture.py).
"""

import json
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from steersman.inert import escaped, inert
from steersman.secrets import conceal

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print a result to stdout."""
    print(inert(conceal(text)), end=end, flush=flush)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value to stdout as JSON. Control characters are escaped, so that it stays JSON and is inert."""
    print(escaped(json.dumps(value, ensure_ascii=False, indent=indent)))


def tell(text: str) -> None:
    """Print a notice or an error to stderr."""
    print(inert(conceal(text)), file=sys.stderr, flush=True)


def write_line(text: str, stream: Any) -> None:
    """Print a line to a stream that the caller chose, and flush it."""
    print(inert(conceal(text)), file=stream, flush=True)


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

    return InertConsole(**{"highlight": False, **options})
