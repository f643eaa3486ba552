"""The screen of `steersman label`: progress, the prompt, the answers (blind), and the keys. Only drawing, no logic.

(state, progress, size) -> Frame, so that tests can check a page without a terminal. Model names, scores and the order
in the file are never shown.
"""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from steersman.judging.layout import FANCY, Box, Frame, Row, Strokes, beside, ends, framed, line, typed, wrapped
from steersman.judging.session import STRENGTHS, State, ranks_of
from steersman.records import Prompt

NARROW, LOW = 40, 16
SIDE_BY_SIDE = 80
MIN_PANE = 6
PLACE_STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red", "cyan", "yellow", "magenta")

_KEYS = {
    "compare": [("a", "A better"), ("b", "B better"), ("t", "tie"), ("x", "both bad"), ("s", "skip"), ("u", "undo")],
    "rank": [
        ("1-9", "best first"),
        ("=", "tie next"),
        ("⏎", "done"),
        ("x", "all bad"),
        ("s", "skip"),
        ("u", "undo"),
        ("t", "all equal"),
    ],
    "demonstrate": [("w", "write"), ("e", "$EDITOR"), ("1-9", "edit answer"), ("s", "skip"), ("u", "undo")],
}
_ALWAYS = [("?", "help"), ("q", "quit")]
_HELP = {
    "compare": [
        ("a  1  ←", "the left (or upper) answer is better"),
        ("b  2  →", "the right (or lower) answer is better"),
        ("1 2 3", "how much better, if asked: slightly, clearly, far (Shift-A, Shift-B: far, at once)"),
        ("t  =", "a tie: equally good"),
        ("x  0", "both bad: neither is acceptable"),
        ("v", "side by side, or one above the other"),
    ],
    "rank": [
        ("1 … 9", "name the answers from best to worst"),
        ("=", "the next one ties with the one before"),
        ("⏎ Enter", "done; answers not named share the last rank"),
        ("t", "all are equally good"),
        ("x  0", "all are bad"),
        ("Backspace", "remove the last one named"),
    ],
    "demonstrate": [
        ("w ⏎", "write the answer here (or continue the draft)"),
        ("e", "write it in $EDITOR"),
        ("1 … 9", "start from that answer of a model; submit it unchanged to approve it"),
        ("Ctrl-S", "submit (also Ctrl-D)"),
        ("Ctrl-O", "continue in $EDITOR"),
        ("Esc", "stop writing; the draft is saved"),
    ],
}
_HELP_ALWAYS = [
    ("n", "add a note with the reason (saved with the judgement)"),
    ("s", "skip; Shift-S asks for a reason"),
    ("u  Ctrl-Z", "undo, repeatedly, also of earlier sessions"),
    ("p", "show the whole prompt"),
    ("↑ ↓ Space PgUp PgDn", "scroll"),
    ("q  Ctrl-C", "quit; everything is saved, the same command continues"),
]


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """The numbers of the top line. `pace` is judgements per hour in this sitting, or None if there are too few."""

    annotator: str
    done: int
    left: int
    skipped: int
    pace: float | None = None


def draw(state: State, progress: ProgressLine, width: int, height: int, strokes: Strokes = FANCY) -> Frame:
    """The page for this state."""
    if width < NARROW or height < LOW:
        text = f"This window is {width} × {height}; please make it {NARROW} × {LOW} or larger."
        return Frame([line(part) for part in wrapped(text, max(2, width))][:height])
    head = _head(state, progress, width, strokes)
    room = height - len(head) - 2
    if state.phase == "help":
        body, limit, cursor = _help(state, width, room)
    elif state.item is None:
        body, limit, cursor = _finished(progress, width), 0, None
    elif state.phase == "prompt":
        lines = _prompt_lines(state.item.prompt, width - 3, strokes)
        body, limit, cursor = _window_rows(lines, state, room)
    elif state.mode == "compare":
        body, limit, cursor = _compare(state, width, room, strokes)
    elif state.phase == "write":
        body, limit, cursor = _write(state, width, room, strokes)
    else:
        body, limit, cursor = _many(state, width, room, strokes)
    rows = head + body[:room] + [[] for _ in range(room - len(body))]
    foot, foot_cursor = _foot(state, width, strokes)
    if foot_cursor is not None:
        cursor = (height - 2, foot_cursor)
    elif cursor is not None:
        cursor = (cursor[0] + len(head), cursor[1])
    for row in rows + foot:
        for column, text in row:
            text.truncate(max(0, width - column))
    return Frame(rows + foot, cursor, limit, max(1, room // 2))


def _head(state: State, progress: ProgressLine, width: int, strokes: Strokes) -> list[Row]:
    total = progress.done + progress.left + progress.skipped
    share = 1 - progress.left / total if total else 1.0
    dot = f" {strokes.dot} "
    facts = {"done": f"{progress.done} of {total}", "share": f"{share:.0%}"}
    if progress.skipped:
        facts["skipped"] = f"{progress.skipped} skipped"
    if progress.pace:
        facts["pace"] = f"{progress.pace:.0f} an hour"
        facts["time"] = _duration(progress.left / progress.pace) + " left"
    name = wrapped(progress.annotator, 20)[0]
    title = Text.assemble((" label", "bold"), (f"{dot}{state.mode}{dot}{name}", "dim"))
    for spare in ("share", "skipped", "pace", "time", "done"):  # the bar below shows the share as well
        if title.cell_len + cell_len(dot.join(facts.values())) + 4 > width:
            facts.pop(spare, None)
    filled = round(share * width)
    bar = Text.assemble((strokes.done * filled, "green"), (strokes.to_do * (width - filled), "dim"))
    return [ends(title, Text(dot.join(facts.values()) + " "), width), [(0, bar)]]


def _duration(hours: float) -> str:
    minutes = max(1, round(hours * 60))
    return f"{minutes} min" if minutes < 90 else f"{hours:.0f} h" if hours >= 9.5 else f"{hours:.1f} h"


def _prompt_lines(prompt: Prompt, width: int, strokes: Strokes) -> list[tuple[str, str]]:
    """(text, style) of each line of the prompt. Roles are shown only if there are several messages."""
    if prompt.text is not None:
        return [(text, "") for text in wrapped(prompt.text, width)]
    named = len(prompt.messages) > 1
    lines: list[tuple[str, str]] = []
    for index, message in enumerate(prompt.messages):
        style = "" if message.role == "user" else "dim"
        if named:
            lines.append((message.role, "bold green"))
        lines.extend((text, style) for text in wrapped(message.content, width))
        if named and index + 1 < len(prompt.messages):
            lines.append(("", ""))
    return lines


def _prompt(state: State, width: int, most: int, strokes: Strokes) -> list[Row]:
    """The end of the prompt, with a bar on its left. If it does not fit, a line says how to see the beginning."""
    assert state.item is not None
    lines = _prompt_lines(state.item.prompt, width - 3, strokes)
    hidden = len(lines) - most
    if hidden > 0:
        hidden += 1
        lines = [
            (f"{strokes.more[1]} {hidden} more lines: p shows all", "dim italic"),
            *lines[hidden:],
        ]
    return [[(0, Text(f" {strokes.bar}", "green")), (3, Text(text, style))] for text, style in lines] + [[]]


def _compare(state: State, width: int, room: int, strokes: Strokes) -> tuple[list[Row], int, None]:
    assert state.item is not None
    rows = _prompt(state, width, max(2, room // 3), strokes)
    left = room - len(rows)
    stacked = width < SIDE_BY_SIDE if state.stacked is None else state.stacked
    widths = (width, width) if stacked else ((width - 1) // 2, width - 1 - (width - 1) // 2)
    texts = [wrapped(state.item.at(place).text, widths[place] - 4) for place in (0, 1)]
    if stacked:
        upper, lower = (len(lines) + 2 for lines in texts)
        first = max(left - lower, min(upper, left // 2))
        heights = (min(first, max(MIN_PANE - 2, upper)), min(left - min(first, upper), max(MIN_PANE - 2, lower)))
    else:
        tallest = max(MIN_PANE, *(len(lines) + 2 for lines in texts))
        heights = (min(left, tallest),) * 2
    panes, limit = [], 0
    for place, lines in enumerate(texts):
        limit = max(limit, len(lines) - (heights[place] - 2))
        chosen = state.phase == "strength" and state.side == ("left", "right")[place]
        column = 0 if stacked or place == 0 else widths[0] + 1
        box = Box(column, widths[place], heights[place], state.scroll)
        title = "AB"[place] + (" is better" if chosen else "")
        panes.append(framed(title, lines, box, style="bold " * chosen + PLACE_STYLES[place], strokes=strokes))
    return rows + (panes[0] + panes[1] if stacked else beside(*panes)), max(0, limit), None


def _many(state: State, width: int, room: int, strokes: Strokes) -> tuple[list[Row], int, None]:
    """Several answers below one another, to rank or to start a demonstration from. They scroll as one page."""
    assert state.item is not None
    rows = _prompt(state, width, max(2, room // 3), strokes)
    count = len(state.item.completions)
    ranks = ranks_of(state.groups, count)[0] if state.groups else ()
    named = {place for group in state.groups for place in group}
    page: list[Row] = []
    for place in range(count):
        lines = wrapped(state.item.at(place).text, width - 4)
        title = str(place + 1) + (f" {strokes.dot} rank {ranks[place]}" if place in named else "")
        style = "dim" if named and place in named else PLACE_STYLES[place % len(PLACE_STYLES)]
        page += framed(title, lines, Box.around(lines, width), style=style, strokes=strokes)
    if state.mode == "demonstrate":
        page = _draft_rows(state, width, strokes) + page
    space = room - len(rows)
    limit = max(0, len(page) - space)
    top = min(state.scroll, limit)
    shown = page[top : top + space]
    if top + space < len(page):
        shown[-1] = line((f" {strokes.more[0]} {len(page) - top - space + 1} more lines: Space or ↓", "dim italic"))
    return rows + shown, limit, None


def _draft_rows(state: State, width: int, strokes: Strokes) -> list[Row]:
    assert state.item is not None
    if not state.buffer.text:
        hint = "Nothing written yet: press w to write" + (
            ", or a number to start from a model's answer." if state.item.completions else "."
        )
        return [line((" " + hint, "dim")), []]
    lines = wrapped(state.buffer.text, width - 4)
    return framed("your draft", lines, Box.around(lines, width), style="white", strokes=strokes)


def _write(state: State, width: int, room: int, strokes: Strokes) -> tuple[list[Row], int, tuple[int, int]]:
    rows = _prompt(state, width, max(2, room // 3), strokes)
    space = room - len(rows)
    inner = width - 4
    lines, row, column = typed(state.buffer.text, state.buffer.cursor, inner)
    top = max(0, min(row - (space - 3), len(lines) - (space - 2)))
    title = "your answer" if state.source is None else f"your answer, from answer {state.source + 1}"
    rows += framed(title, lines, Box(0, width, space, top), style="white", strokes=strokes)
    return rows, 0, (room - space + 1 + row - top, 2 + column)


def _window_rows(lines: list[tuple[str, str]], state: State, room: int) -> tuple[list[Row], int, None]:
    limit = max(0, len(lines) - room)
    top = min(state.scroll, limit)
    return [[(2, Text(text, style))] for text, style in lines[top : top + room]], limit, None


def _help(state: State, width: int, room: int) -> tuple[list[Row], int, None]:
    wide = 22
    rows: list[Row] = [[]]
    for key, meaning in _HELP[state.mode] + _HELP_ALWAYS:
        if key == "n" and state.mode == "demonstrate":
            continue
        for number, text in enumerate(wrapped(meaning, width - wide - 2)):
            rows.append([(2, Text(key if number == 0 else "", "bold cyan")), (wide, Text(text))])
    limit = max(0, len(rows) - room)
    top = min(state.scroll, limit)
    return rows[top:], limit, None


def _finished(progress: ProgressLine, width: int) -> list[Row]:
    lines = [[], line(("  All done. Thank you.", "bold green")), []]
    lines.append(line(f"  {progress.done} judged, {progress.skipped} skipped. Everything is saved."))
    return lines


def _foot(state: State, width: int, strokes: Strokes) -> tuple[list[Row], int | None]:
    """The rows with the message and the keys. While a line is typed in place of the message, also the cursor's
    column."""
    if state.phase in ("note", "reason"):
        label = " Note: " if state.phase == "note" else " Why skip? "
        visible = wrapped(state.buffer.text + "\u2588", 10_000)[0][:-1]
        before = cell_len(wrapped(state.buffer.text[: state.buffer.cursor] + "\u2588", 10_000)[0]) - 1
        start = max(0, before - (width - len(label) - 2))
        row = line((label, "bold"), visible[start:])
        return [row, _key_row([("⏎", "done"), ("Esc", "cancel")], width)], len(label) + before - start
    message = wrapped(state.message, width - 2)[0] if state.message else ""
    style = "bold red" if state.trouble else "green"
    if not message and state.groups:
        message, style = _order_so_far(state), "bold"
    elif not message and state.note:
        message, style = wrapped("note: " + state.note, width - 2)[0], "italic"
    return [line((" " + message, style)), _key_row(_keys(state), width)], None


def _order_so_far(state: State) -> str:
    assert state.item is not None
    places = [" = ".join(str(place + 1) for place in group) for group in state.groups]
    return "best first: " + " > ".join(places) + (" = …" if state.joining else " > …" if len(places) else "")


def _keys(state: State) -> list[tuple[str, str]]:
    if state.phase == "strength":
        return [*((str(n), f"{word} better") for n, word in STRENGTHS.items()), ("a b", "the other"), ("Esc", "back")]
    if state.phase in ("help", "prompt"):
        return [("↑ ↓", "scroll"), ("Esc", "back")]
    if state.phase == "write":
        return [("Ctrl-S", "submit"), ("Ctrl-O", "$EDITOR"), ("Esc", "back, keeping the draft")]
    if state.item is None:
        return [("u", "undo"), ("r", "show skipped items again"), ("⏎", "finish")]
    keys = _KEYS[state.mode]
    if state.mode == "demonstrate" and not state.item.completions:
        keys = [(key, meaning) for key, meaning in keys if key != "1-9"]
    if state.mode == "rank":
        keys = [(f"1-{len(state.item.completions)}" if key == "1-9" else key, meaning) for key, meaning in keys]
    return keys + _ALWAYS


def _key_row(keys: list[tuple[str, str]], width: int) -> Row:
    """As many keys as fit. Help and quit, the last two, are dropped last."""
    while True:
        text = Text(" ")
        for key, meaning in keys:
            text.append_text(Text.assemble((key, "bold cyan"), f" {meaning}  "))
        text.rstrip()
        if text.cell_len <= width or len(keys) <= 2:
            return [(0, text)]
        keys = keys[:-3] + keys[-2:]
