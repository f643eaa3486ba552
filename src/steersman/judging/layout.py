"""Layout for the terminal: wrapping text, scrolling windows, frames, and the escape sequences that draw a page.

A row is a list of (column, text). Each piece is drawn at its own column, so that a character whose width the terminal
computes differently cannot shift the right-hand answer.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from steersman.inert import inert

Row = list[tuple[int, Text]]
MEASURE = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)


@dataclass(frozen=True, slots=True)
class Frame:
    """A page: its rows, the cursor if it is visible, the scroll limit, and the lines per page-up or page-down."""

    rows: list[Row]
    cursor: tuple[int, int] | None = None
    limit: int = 0
    page: int = 10


@dataclass(frozen=True, slots=True)
class Strokes:
    """The characters for drawing frames and bars."""

    corners: str
    across: str
    down: str
    bar: str
    done: str
    to_do: str
    dot: str
    more: str


FANCY = Strokes("╭╮╰╯", "─", "│", "▎", "━", "─", "·", "▼▲")
PLAIN = Strokes("++++", "-", "|", "|", "=", "-", "-", "v^")


@lru_cache(maxsize=256)
def wrapped(text: str, width: int) -> tuple[str, ...]:
    """The lines of a text, made inert and wrapped to `width` cells. Longer words are split."""
    lines: list[str] = []
    for line in inert(text).split("\n"):
        pieces = Text(line).wrap(MEASURE, max(2, width), overflow="fold", tab_size=4) if line else []
        lines.extend(piece.plain.rstrip() for piece in pieces)
        if not pieces:
            lines.append("")
    return tuple(lines)


def typed(text: str, cursor: int, width: int) -> tuple[list[str], int, int]:
    """A text being edited, wrapped at words, and the row and column of its cursor."""
    cursor = len(inert(text[:cursor]))
    lines, starts = [], []
    at = 0
    for paragraph in inert(text).split("\n"):
        start = 0
        for length in _pieces(paragraph, max(2, width)):
            lines.append(paragraph[start : start + length])
            starts.append(at + start)
            start += length
        at += len(paragraph) + 1
    row = max(number for number, start in enumerate(starts) if start <= cursor)
    column = min(cell_len(lines[row][: cursor - starts[row]]), width - 1)
    return [piece.rstrip(" ") for piece in lines], row, column


def _pieces(paragraph: str, width: int) -> list[int]:
    """The number of characters per line. Lines break after the last space that fits; trailing spaces may overhang."""
    pieces: list[int] = []
    begin = cells = 0
    space = -1
    for index, character in enumerate(paragraph):
        cells += cell_len(character)
        if cells > width and character != " ":
            end = space + 1 if space >= begin else index
            pieces.append(end - begin)
            begin, cells = end, cell_len(paragraph[end : index + 1])
        if character == " ":
            space = index
    return [*pieces, len(paragraph) - begin]


def window(lines: Sequence[str], height: int, scroll: int) -> tuple[Sequence[str], int, int]:
    """The visible lines, and the numbers of hidden lines above and below. Scrolling stops at the last line."""
    top = max(0, min(scroll, len(lines) - height))
    return lines[top : top + height], top, max(0, len(lines) - height - top)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a pane stands and how large it is. `scroll` is how many of its lines are above its window."""

    column: int
    width: int
    height: int
    scroll: int = 0

    @staticmethod
    def around(lines: Sequence[str], width: int) -> "Box":
        """A box at the left edge in which all lines show."""
        return Box(0, width, len(lines) + 2)


def framed(title: str, lines: Sequence[str], box: Box, *, style: str, strokes: Strokes) -> list[Row]:
    """The rows of a box with a title and a window of lines. Its edges show how many are hidden."""
    column, width, height = box.column, box.width, box.height
    inner = width - 4
    shown, above, below = window(lines, height - 2, box.scroll)
    left, right, bottom_left, bottom_right = strokes.corners
    head = f"{strokes.across} {title} "
    up = f" {strokes.more[1]} {above} " if above else ""
    down = f" {strokes.more[0]} {below} more {'line' if below == 1 else 'lines'} " if below else ""
    fill = width - 2 - cell_len(head) - len(up)
    top = Text.assemble((left, style), (head, f"bold {style}"), (strokes.across * fill + up + right, style))
    rows: list[Row] = [[(column, top)]]
    for index in range(height - 2):
        text = Text(shown[index]) if index < len(shown) else Text()
        rows.append(
            [
                (column, Text(strokes.down, style)),
                (column + 2, text),
                (column + 2 + inner + 1, Text(strokes.down, style)),
            ]
        )
    fill = width - 2 - len(down)
    rows.append([(column, Text(bottom_left + strokes.across * fill + down + bottom_right, style))])
    return rows


def beside(left: list[Row], right: list[Row]) -> list[Row]:
    return [a + b for a, b in zip(left, right, strict=True)]


def line(*parts: tuple[str, str] | str, column: int = 0) -> Row:
    return [(column, Text.assemble(*parts))]


def ends(left: Text, right: Text, width: int) -> Row:
    """Two texts at the two ends of a row. The right one is dropped if there is no room."""
    if left.cell_len + right.cell_len + 2 > width:
        return [(0, left)]
    return [(0, left), (width - right.cell_len, right)]


def painted(frame: Frame, width: int, height: int) -> str:
    """The escape sequences that draw a frame. Terminals that support mode 2026 draw it at once, without flicker."""
    console = Console(file=io.StringIO(), width=max(width, 2), force_terminal=True, legacy_windows=False)
    out = ["\x1b[?2026h\x1b[?25l"]
    for number in range(height):
        out.append(f"\x1b[{number + 1};1H\x1b[0m\x1b[2K")
        for column, text in frame.rows[number] if number < len(frame.rows) else []:
            text = text.copy()
            text.truncate(max(0, width - column))
            with console.capture() as capture:
                console.print(
                    text, end="", no_wrap=True, overflow="ignore", crop=False, highlight=False, soft_wrap=True
                )
            out.append(f"\x1b[{number + 1};{column + 1}H{capture.get()}")
    if frame.cursor:
        out.append(f"\x1b[{frame.cursor[0] + 1};{frame.cursor[1] + 1}H\x1b[?25h")
    out.append("\x1b[?2026l")
    return "".join(out)
