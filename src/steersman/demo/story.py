"""The quickstart's records: examples, and the whole `QuickstartStory` shown by terminal, page and JSON."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.demo.chapters import Chapter
from steersman.demo.panel import Panel
from steersman.demo.table import QuickstartRow
from steersman.demo.taste import HarbourAnswer, MeasuredModel
from steersman.rounds.by_round import RoundRow
from steersman.runs.commands import command_line


@dataclass(frozen=True, slots=True)
class Place:
    """Output folder, seed and size of a quickstart. `settings` are those of its recipe on the command line."""

    out: Path
    seed: int
    fast: bool
    recipe: str
    settings: tuple[str, ...]

    @property
    def command(self) -> str:
        words = ["steersman", "quickstart", "--out", str(self.out), "--seed", str(self.seed)]
        return shlex.join([*words, "--fast"] if self.fast else words)

    def rounds(self, action: str) -> str:
        """A command of `steersman rounds` on the same stages."""
        return command_line("rounds", action, self.recipe, *self.settings)


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
    chapters: tuple[Chapter, ...]
    by_round: tuple[RoundRow, ...]
    measured: tuple[MeasuredModel, ...]
    rows: tuple[QuickstartRow, ...]
    panel: Panel
    people: float
    """Mean true taste of people's own answers to held-out prompts."""
    examples: QuickstartExamples
    verdict: QuickstartVerdict
    looked_at: tuple[Mapping[str, Any], ...]
    """Answers of the last policy with token data, for the microscope."""
    looked_notes: tuple[str, ...]
    policy: Path
    """The folder of the policy that was promoted last."""
    own_round: Path
    """A recipe with one more round, whose labels the reader gives."""
    seconds: float

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.measured)

    @property
    def prompts(self) -> int:
        return len(set(self.measured[0].prompts))

    @property
    def last_run(self) -> Path:
        """The run that trained the last policy."""
        return [one.output for one in self.chapters if "ppo" in one.kind.stages][-1]

    @property
    def report(self) -> Path:
        return self.place.out / "report.html"

    @property
    def own_round_commands(self) -> tuple[tuple[str, str], ...]:
        """To be the labeller of the next round: one in each of two terminals."""
        return (
            (command_line("rounds", "run", self.own_round), "one more round, with your labels"),
            (command_line("studio", "serve", "--store", self.place.out / "studio.db"), "beside it: label in a browser"),
        )

    @property
    def next_commands(self) -> tuple[tuple[str, str], ...]:
        """Commands to try next, with descriptions."""
        return (
            (command_line("chat", self.policy), "talk with the model"),
            (command_line("report", self.last_run), "the report on the last PPO run"),
            (command_line("label", self.place.out / "answers.jsonl"), "judge the answers yourself, blind"),
            (command_line("rounds", "status", self.own_round), "all stages, their times and outputs"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Every number of the table, for `--json` and numbers.json."""
        return {
            "models": {model.name: model.path for model in self.measured},
            "prompts": self.prompts,
            "table": [row.as_dict(self.columns) for row in self.rows],
            "rounds": [row.as_dict() for row in self.by_round],
            "reward_model": self.panel.as_dict(),
            "people": self.people,
            "verdict": [self.verdict.headline, *self.verdict.sentences],
            "stages": {
                name: {"output": str(one.output), "seconds": round(one.seconds or 0.0, 1)}
                for chapter in self.chapters
                for name, one in chapter.stages.items()
            },
            "seed": self.place.seed,
            "fast": self.place.fast,
            "report": str(self.report),
            "next": [command for command, _ in self.next_commands],
            "own_round": [command for command, _ in self.own_round_commands],
        }


@runtime_checkable
class ProgressReporter(Protocol):
    """Callbacks for the progress of the quickstart."""

    def started(self, place: Place) -> None: ...

    def chapter_started(self, number: int, of: int, chapter: Chapter) -> None: ...

    def chapter_ended(self, chapter: Chapter) -> None: ...

    def finished(self, story: QuickstartStory) -> None: ...
