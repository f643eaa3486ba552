"""Terminal output of the quickstart: each stage with its purpose and result, the table, answers, and next commands."""

import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from steersman import printing
from steersman.demo.chapters import Chapter
from steersman.demo.page import duration, mark_of
from steersman.demo.panel import Panel
from steersman.demo.story import Place, QuickstartExample, QuickstartStory
from steersman.demo.table import QuickstartCell, QuickstartRow
from steersman.evaluate.numerals import within

WIDTH = 80
"""Maximum line width: wider lines and tables are harder to read."""
CHANGES = {"better": ("green", " ✓"), "worse": ("red", " ✗")}
MARKS = {"good": "green", "": "yellow", "bad": "red"}
SHOWN = 3
LONGEST_PROMPT = 150
SHOWN_MEASURES = (
    ("taste", "true taste"),
    ("wins", "beats SFT"),
    ("wins_last", "beats the last"),
    ("toxic", "toxic"),
    ("kl", "KL"),
    ("labels", "labels"),
)
"""Rows of the story's table that the terminal shows, with a short heading."""


class Silent:
    """Prints nothing: for --json."""

    def started(self, place: Place) -> None: ...

    def chapter_started(self, number: int, of: int, chapter: Chapter) -> None: ...

    def chapter_ended(self, chapter: Chapter) -> None: ...

    def finished(self, story: QuickstartStory) -> None: ...


class TerminalPrinter:
    """Prints the quickstart to stdout. Progress bars and notices of the stages go to stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or printing.console()
        self._width = min(WIDTH, self._console.width)

    def started(self, place: Place) -> None:
        self._say("Harbour", style="bold cyan")
        self._say(
            "A tiny language model was pretrained on good and bad conversations: it can be rude, it exaggerates, and "
            "it helps with harmful requests. Now it is trained with human feedback, in rounds: people judge the "
            "current policy's answers, and it learns from their judgements. The people are simulated, so this takes "
            "minutes and the true reward of every answer is known. Training never sees it; only the check of each "
            "round and the table at the end do."
        )

    def chapter_started(self, number: int, of: int, chapter: Chapter) -> None:
        line = Text.assemble((f"{number} of {of}  ", "dim"), (chapter.title, "bold cyan"))
        if len(line) + len(str(chapter.output)) + 2 <= self._width:
            line.append(str(chapter.output).rjust(self._width - len(line)), style="dim")
        self._console.print()
        self._console.print(line)
        if chapter.round <= 1:  # later rounds do the same
            self._say(chapter.why)

    def chapter_ended(self, chapter: Chapter) -> None:
        again = "had been done before" if chapter.again else duration(chapter.seconds)
        summary = chapter.summary
        self._say(f"{summary[:1].upper()}{summary[1:]} ({again}).", style="green")

    def finished(self, story: QuickstartStory) -> None:
        self._table(story)
        self._panel(story.panel)
        self._console.print()
        self._say(story.verdict.headline, style="bold")
        for sentence in story.verdict.sentences:
            self._say(sentence, indent=2)
        self._examples(story)
        self._ending(story)

    def _say(self, text: str, *, style: str = "", indent: int = 0) -> None:
        for line in textwrap.wrap(text, self._width - indent):
            self._console.print(Text(" " * indent + line, style=style))

    def _table(self, story: QuickstartStory) -> None:
        """A line for each model, with some of the measures; the page has all."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        rows = [(head, row) for key, head in SHOWN_MEASURES for row in story.rows if row.key == key]
        for head, _ in rows:
            table.add_column(head, justify="right", no_wrap=True)
        for column, name in enumerate(story.columns):
            cells = [_coloured(*_short(row, column), row.cells[column]) for _, row in rows]
            table.add_row(name, *cells)
        self._console.print()
        self._console.print(table, width=self._width)
        self._say(
            f"95 % intervals. ✓ significantly better than the line above (wins: than 50 %), ✗ significantly worse. "
            f"People's own answers have a true taste of {story.people:.2f}.",
            style="dim",
        )

    def _panel(self, panel: Panel) -> None:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_row("agreement of the reward model with a labeller", Text(within(panel.model), style="bold"))
        table.add_row("agreement of two labellers", within(panel.agreement))
        table.add_row("agreement of a labeller with the majority", within(panel.ceiling))
        self._console.print()
        self._console.print(table, width=self._width)

    def _examples(self, story: QuickstartStory) -> None:
        self._console.print()
        self._say("Before and after", style="bold cyan")
        for example in story.examples.gained[:SHOWN]:
            self._example(example, story)
        for example in story.examples.lost[:1]:
            self._say("One answer that got worse:", style="dim")
            self._example(example, story)
        if not story.examples.gained and not story.examples.lost:
            for example in story.examples.drawn[:SHOWN]:
                self._example(example, story)

    def _example(self, example: QuickstartExample, story: QuickstartStory) -> None:
        prompt = example.prompt if len(example.prompt) <= LONGEST_PROMPT else example.prompt[:LONGEST_PROMPT] + "…"
        self._say(prompt, style="italic")
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=9)
        grid.add_column(width=13, no_wrap=True)
        grid.add_column(ratio=1)
        ends = ((story.columns[0], example.answers[0]), (story.columns[-1], example.answers[-1]))
        for name, answer in ends:
            mark = mark_of(answer)
            grid.add_row(
                Text(f"  {name}", style="dim"),
                Text(f"{mark.sign} {mark.word}"[:13], style=MARKS[mark.tone]),
                Text(" ".join(answer.text.split()) or "(nothing)"),
            )
        self._console.print(grid, width=self._width)

    def _ending(self, story: QuickstartStory) -> None:
        self._console.print()
        note = f"  the report, an HTML page ({duration(story.seconds)} in total)"
        self._console.print(Text.assemble((str(story.report), "bold"), note), soft_wrap=True)
        self._console.print()
        self._say("Label the next round yourself, and the policy learns your taste:", style="bold cyan")
        self._commands((*on_the_path(), *story.own_round_commands), "first: ")
        self._console.print()
        self._commands(story.next_commands, "next: ")

    def _commands(self, commands: Sequence[tuple[str, str]], lead: str) -> None:
        width = max(len(command) for command, _ in commands)
        for number, (command, what) in enumerate(commands):
            lead = lead if number == 0 else " " * len(lead)
            if len(lead) + width + 2 + len(what) <= self._width:
                self._console.print(Text.assemble(lead, (command.ljust(width), "cyan"), "  ", (what, "dim")))
            else:
                self._console.print(Text.assemble(lead, (command, "cyan")), soft_wrap=True)


def on_the_path() -> list[tuple[str, str]]:
    """The line that puts `steersman` on the path, if it is not there: `make demo` starts it by its full name."""
    if shutil.which("steersman") is not None:
        return []
    folder = shlex.quote(str(Path(sys.executable).parent))
    return [(f'export PATH={folder}:"$PATH"', "so that the shell finds steersman")]


def _short(row: QuickstartRow, column: int) -> tuple[str, str]:
    """A cell, without the interval of the KL: the line would be too long."""
    number, interval = row.texts(column)
    return number, "" if row.key == "kl" else interval


def _coloured(number: str, interval: str, cell: QuickstartCell | None) -> Text:
    """The number in bold, its interval dim, and a sign for a significant change."""
    if cell is None:
        return Text(f"{number}  ", style="dim")
    style, sign = CHANGES.get(cell.change, ("", "  "))
    return Text.assemble((number, f"bold {style}".strip()), (f" {interval}" if interval else "", "dim"), (sign, style))
