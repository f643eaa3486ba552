"""What a report is made of: a verdict, and sections of parts, all plain data. Where the numbers come from, and how they look as
HTML, is not known here; `kind` is the name of the macro that draws a part (files/parts.html.jinja)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from steersman.maths.statistics import Interval
from steersman.pages.word_diff import Stretch

Tone = Literal["good", "bad", ""]
Change = Literal["better", "worse", "other", "unclear", ""]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the verdict; `tone` says whether it is good news."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval on a line from 0 to 100, and the estimate in it."""

    left: float
    width: float
    at: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A number and its range in words; `change` is from the column that it is compared with."""

    main: str
    range: str
    change: Change
    change_words: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class Row:
    """A measure, a cell for each column (None: not to be measured). `zero` is where 0 stands on the bars' line, if it is shown."""

    group: str
    name: str
    meaning: str
    cells: tuple[Cell | None, ...]
    zero: float | None


@dataclass(frozen=True, slots=True)
class ResultTable:
    kind: ClassVar[str] = "result_table"
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A share on a line of its own, for comparing a few at a glance. `other` draws it in the second colour."""

    name: str
    text: str
    other: bool
    bar: Bar


@dataclass(frozen=True, slots=True)
class Gauges:
    kind: ClassVar[str] = "gauges"
    gauges: tuple[Gauge, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture (SVG made here, never text of others), the names of its curves, and a sentence about it."""

    title: str
    names: tuple[str, ...]
    svg: str
    note: str
    alarm: bool
    banded: bool


@dataclass(frozen=True, slots=True)
class Figures:
    kind: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]
    wide: bool = False
    """Each as wide as the page."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a story: what was done, what it told, its figures."""

    kind: ClassVar[str] = "stage"
    title: str
    aside: str
    why: str
    told: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What is to be said of an answer at a glance: a sign and a word, so that colour is never alone."""

    tone: Tone
    sign: str
    word: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer as it is shown."""

    model: str
    text: tuple[Stretch, ...]
    mark: Mark | None
    numbers: str


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and answers to it, side by side; `why` says why it is shown."""

    prompt: str
    why: str
    answers: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """`columns` answers stand beside one another on a wide page. `diff` says that stretches are marked, and needs a word on how."""

    kind: ClassVar[str] = "examples"
    examples: tuple[Example, ...]
    columns: int
    diff: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was noticed, where, and the samples that show it."""

    tone: Tone
    where: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    kind: ClassVar[str] = "findings"
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Microscope:
    """Samples with all that is known of each token; see `pages.microscope`. `notes` are said beneath it."""

    kind: ClassVar[str] = "microscope"
    samples: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A title among the parts of a section, with a note."""

    kind: ClassVar[str] = "heading"
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Words:
    kind: ClassVar[str] = "words"
    text: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to be typed, each with what it does ("" if that is plain)."""

    kind: ClassVar[str] = "commands"
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    kind: ClassVar[str] = "facts"
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Folded:
    """Parts that are there for whoever wants them."""

    kind: ClassVar[str] = "folded"
    title: str
    parts: tuple["Part", ...]


Part = (
    ResultTable
    | Gauges
    | Figures
    | Stage
    | Examples
    | Findings
    | Microscope
    | Heading
    | Words
    | Commands
    | Facts
    | Folded
)


@dataclass(frozen=True, slots=True)
class Section:
    """`short` is its name in the table of contents."""

    title: str
    short: str
    note: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page. `name` is what it is a report of."""

    name: str
    headline: str
    sentences: tuple[Sentence, ...]
    sections: tuple[Section, ...] = field(default_factory=tuple)


def bar_of(value: Interval, low: float, high: float) -> Bar:
    """An interval on a line that spans from `low` to `high`."""
    span = (high - low) or 1.0
    left, right, at = (
        min(100.0, max(0.0, 100 * (bound - low) / span)) for bound in (value.low, value.high, value.estimate)
    )
    return Bar(left, max(right - left, 0.8), at)


def zero_of(low: float, high: float, *, share: bool) -> float | None:
    """Where 0 stands on such a line; shares begin there."""
    return None if share else 100 * (0.0 - low) / ((high - low) or 1.0)


def span_of(values: Sequence[Interval], *, share: bool) -> tuple[float, float]:
    """What a row's bars span: shares from 0 to 1, other numbers what they span with 0 in it."""
    if share:
        return 0.0, 1.0
    return min(0.0, *(value.low for value in values)), max(0.0, *(value.high for value in values))
