"""The quickstart's records: stages, their results, examples, and the whole `Story` shown by terminal, page and JSON."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.demo.panel import Panel
from steersman.demo.table import QuickstartRow
from steersman.demo.taste import HarbourAnswer, MeasuredModel
from steersman.execution.ending import RunResult
from steersman.runs.commands import command_line

JournalRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of training and measurement, chosen for two cores: docs/quickstart.md has the time of each stage.

    `evaluation_prompts`: held-out prompts of PPO's evaluation during training.
    """

    demonstrations: int
    judgements: int
    held_out: int
    iterations: int
    prompts_per_iteration: int
    evaluation_prompts: int
    prompts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Place:
    """Output folder, seed and sizes of a quickstart."""

    out: Path
    seed: int
    sizes: Sizes

    def folder(self, stage: str) -> str:
        return str(self.out / stage)


@dataclass(frozen=True, slots=True)
class JournalChart:
    """A chart of journal values: name in the legend -> key, drawn as a faint line or as dots."""

    title: str
    faint: Mapping[str, str]
    dots: Mapping[str, str]


@dataclass(frozen=True)
class QuickstartStage:
    """One command of the quickstart. Its run folder has its name; its recipe is the shipped `<name>-harbour`.

    `column` is the heading of its model's column; "" if the model does not generate answers. `settings` overrides the
    recipe; `summary` makes a line from the journal.
    """

    name: str
    title: str
    why: str
    column: str
    settings: Callable[[Place], list[str]]
    run: Callable[[Sequence[str], bool], RunResult]
    summary: Callable[[JournalRows], str]
    charts: tuple[JournalChart, ...]

    def description(self, place: Place) -> str:
        """What the stage does and why, with the sizes filled in."""
        return self.why.format(**asdict(place.sizes))

    @property
    def recipe(self) -> str:
        return f"{self.name}-harbour"

    def command(self, place: Place) -> str:
        """The command line that runs this stage by hand."""
        return shlex.join(["steersman", self.name, self.recipe, *self.settings(place)])


@dataclass(frozen=True)
class Chapter:
    """A finished stage."""

    stage: QuickstartStage
    result: RunResult
    rows: JournalRows
    seconds: float
    command: str

    @property
    def again(self) -> bool:
        """Whether it was finished before this call."""
        return self.result.ending == "already finished"

    @property
    def folder(self) -> Path:
        return Path(self.result.out)

    @property
    def summary(self) -> str:
        return self.stage.summary(self.rows)


@dataclass(frozen=True)
class QuickstartExample:
    """All models' answers to one prompt, in the order of the columns, and why it is shown."""

    answers: tuple[HarbourAnswer, ...]
    why: str

    @property
    def prompt(self) -> str:
        return self.answers[0].prompt.shown


@dataclass(frozen=True)
class QuickstartExamples:
    """`gained` and `lost`: largest changes from the first model to the last; `drawn`: a random sample."""

    gained: tuple[QuickstartExample, ...]
    lost: tuple[QuickstartExample, ...]
    drawn: tuple[QuickstartExample, ...]


@dataclass(frozen=True)
class QuickstartVerdict:
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class QuickstartStory:
    place: Place
    fast: bool
    chapters: tuple[Chapter, ...]
    measured: tuple[MeasuredModel, ...]
    rows: tuple[QuickstartRow, ...]
    panel: Panel
    people: float
    """Mean true taste of people's own answers to held-out prompts."""
    examples: QuickstartExamples
    verdict: QuickstartVerdict
    looked_at: tuple[Mapping[str, Any], ...]
    """Answers of the PPO model with token data, for the microscope."""
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
        """Commands to try next, with descriptions."""
        out, last = self.place.out, self.measured[-1]
        talks = next(chapter.stage.name for chapter in reversed(self.chapters) if chapter.stage.column == last.name)
        return (
            (command_line("chat", out / talks), "talk with the model"),
            (command_line("report", out / talks), "the report on that run, before and after"),
            (command_line("label", out / "answers.jsonl"), "judge the answers yourself, blind"),
            (command_line("runs", "list", out), "the runs, their numbers and their times"),
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
    """Callbacks for the progress of the quickstart."""

    def started(self, stages: Sequence[QuickstartStage], place: Place) -> None: ...

    def stage_started(self, number: int, of: int, stage: QuickstartStage) -> None: ...

    def stage_ended(self, chapter: Chapter) -> None: ...

    def measuring(self, number: int, of: int, prompts: int, models: Sequence[str]) -> None: ...

    def finished(self, story: QuickstartStory) -> None: ...
