"""The quickstart's nouns: stages, what each of them left, examples, and the story that terminal, page and JSON all tell."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.demo.panel import Panel
from steersman.demo.table import Row
from steersman.demo.taste import HarbourAnswer, Measured
from steersman.execution.ending import RunResult

JournalRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is learned from and measured on. Chosen for two cores: see docs/quickstart.md for what each step takes.

    `asked` prompts in each of PPO's `iterations`, and `watched` held-out ones by which one sees how it goes.
    """

    demonstrations: int
    judgements: int
    held_out: int
    iterations: int
    asked: int
    watched: int
    prompts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a story plays."""

    out: Path
    seed: int
    sizes: Sizes

    def folder(self, stage: str) -> str:
        return str(self.out / stage)


@dataclass(frozen=True, slots=True)
class Chart:
    """Which of a journal's numbers are drawn together: name in the legend -> key, and how."""

    title: str
    faint: Mapping[str, str]
    dots: Mapping[str, str]


@dataclass(frozen=True)
class Stage:
    """One command of the story. Its run lies in the folder of its name; its recipe is the one shipped as `<name>-harbour`.

    `speaks` heads the column of the model that it makes; "" if that model gives no answers. `settings` are what this story
    sets beyond the recipe; `told` says in a line what the journal shows.
    """

    name: str
    title: str
    why: str
    speaks: str
    settings: Callable[[Place], list[str]]
    run: Callable[[Sequence[str], bool], RunResult]
    told: Callable[[JournalRows], str]
    charts: tuple[Chart, ...]

    def said(self, place: Place) -> str:
        """What happens and why, with the sizes put in."""
        return self.why.format(**asdict(place.sizes))

    @property
    def recipe(self) -> str:
        return f"{self.name}-harbour"

    def command(self, place: Place) -> str:
        """What does the same by hand."""
        return shlex.join(["steersman", self.name, self.recipe, *self.settings(place)])


@dataclass(frozen=True)
class Chapter:
    """A stage that is done."""

    stage: Stage
    result: RunResult
    rows: JournalRows
    seconds: float
    command: str

    @property
    def again(self) -> bool:
        """Whether it had been done before."""
        return self.result.ending == "already finished"

    @property
    def folder(self) -> Path:
        return Path(self.result.out)

    @property
    def told(self) -> str:
        return self.stage.told(self.rows)


@dataclass(frozen=True)
class Example:
    """All models' answers to one prompt, in the order of the columns, and why it is shown."""

    answers: tuple[HarbourAnswer, ...]
    why: str

    @property
    def prompt(self) -> str:
        return self.answers[0].prompt.shown


@dataclass(frozen=True)
class Examples:
    """`gained` and `lost` are the largest steps from the first model to the last; `drawn` are drawn by lot."""

    gained: tuple[Example, ...]
    lost: tuple[Example, ...]
    drawn: tuple[Example, ...]


@dataclass(frozen=True)
class Verdict:
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    place: Place
    fast: bool
    chapters: tuple[Chapter, ...]
    measured: tuple[Measured, ...]
    rows: tuple[Row, ...]
    panel: Panel
    people: float
    """The true taste of people's own answers to such prompts."""
    examples: Examples
    verdict: Verdict
    looked_at: tuple[Mapping[str, Any], ...]
    """Answers of the improved model, token by token, for the microscope."""
    looked_notes: tuple[str, ...]
    seconds: float

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.measured)

    @property
    def report(self) -> Path:
        return self.place.out / "report.html"

    @property
    def command(self) -> str:
        words = ["steersman", "quickstart", "--out", str(self.place.out), "--seed", str(self.place.seed)]
        return shlex.join([*words, "--fast"] if self.fast else words)

    @property
    def next_commands(self) -> tuple[tuple[str, str], ...]:
        """What to try next, and what it does."""
        out, last = self.place.out, self.measured[-1]
        talks = next(chapter.stage.name for chapter in reversed(self.chapters) if chapter.stage.speaks == last.name)
        return (
            (f"steersman chat {out / talks}", "talk with the model"),
            (f"steersman report {out / talks}", "that run by itself, frozen and updated"),
            (f"steersman label {out}/answers.jsonl", "judge the answers yourself, blind"),
            (f"steersman runs list {out}", "the runs, their numbers and their times"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Every number of the table, for `--json` and numbers.json."""
        return {
            "models": {model.name: model.model for model in self.measured},
            "prompts": len(self.measured[0].answers),
            "table": [row.as_dict(self.columns) for row in self.rows],
            "reward_model": self.panel.as_dict(),
            "people": self.people,
            "verdict": [self.verdict.headline, *self.verdict.sentences],
            "runs": {
                chapter.stage.name: {
                    **chapter.result.as_dict(),
                    "seconds": round(chapter.seconds, 1),
                    "command": chapter.command,
                }
                for chapter in self.chapters
            },
            "seed": self.place.seed,
            "fast": self.fast,
            "report": str(self.report),
            "next": [command for command, _ in self.next_commands],
        }


@runtime_checkable
class ProgressReporter(Protocol):
    """Who is told how the story goes, while it goes."""

    def opening(self, stages: Sequence[Stage], place: Place) -> None: ...

    def begins(self, number: int, of: int, stage: Stage) -> None: ...

    def ended(self, chapter: Chapter) -> None: ...

    def measuring(self, number: int, of: int, prompts: int, models: Sequence[str]) -> None: ...

    def told(self, story: Story) -> None: ...
