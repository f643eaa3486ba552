"""Settings of the stages that only recipes of rounds have: prompts, label and promote."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.settings.base import Settings
from steersman.settings.score import SourceSettings


class PromptsStageSettings(Settings):
    """Which prompts are held out, which are learned from, and which are those of one round."""

    data: SourceSettings
    held_out: float | str = 0.1
    """A share of the prompts, or a second source: its prompts are held out, and left out of `data`."""
    part: Literal["learned", "held out", "round"]
    """learned: all that are not held out. round: those of one round."""
    round: int | None = Field(default=None, ge=1)
    count: int | None = Field(default=None, ge=1)
    """At most so many prompts. With part=round, the first round takes the first so many, in an order by hash, the
    second the next; when all have been used, they are used again."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    force: bool = False
    """Overwrite the file if it is there already."""

    @model_validator(mode="after")
    def _of_a_round(self) -> "PromptsStageSettings":
        if self.part == "round" and (self.round is None or self.count is None):
            raise ValueError("part=round needs round and count: which prompts are those of the round")
        if isinstance(self.held_out, float) and not 0 < self.held_out < 1:
            raise ValueError(f"held_out is a share between 0 and 1, or a second source; seen {self.held_out}")
        return self


class LabelStageSettings(Settings):
    """Labels by people: tasks in a project of the store, or a label file that they write."""

    data: SourceSettings
    """Answers, at least two different ones to a prompt."""
    project: str | None = None
    """studio:PROJECT: the project whose tasks people judge. Made if it is not there. `?store=` names another store."""
    round: str = ""
    """The name of the round in the project."""
    file: str | None = None
    """Instead of a project: a label file, as `steersman label` writes it."""
    count: int = Field(ge=1)
    """Wait until there are so many labels."""
    until: str | None = None
    """Or until this moment, such as 2026-12-24 or 2026-12-24T18:00; with no label by then, the stage fails."""
    pairs: Literal["all", "adjacent", "across", "random"] = "random"
    """Which pairs of a prompt's answers are asked about; across: of different models only."""
    per_prompt: int = Field(default=1, ge=1)
    """Pairs per prompt with pairs=random."""
    people: int = Field(default=1, ge=1)
    """How many people judge each pair."""
    seed: int = Field(default=0, ge=0)
    """Seed of the pairs and of their order."""
    poll: float = Field(default=10.0, gt=0)
    """Seconds between looks at the labels."""
    wait: bool = True
    """Wait for people. Otherwise (`rounds run --once`) the stage stops with code 75 where labels are missing."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    force: bool = False
    """Overwrite the file if it is there already."""

    @field_validator("project", mode="before")
    @classmethod
    def _without_scheme(cls, value: Any) -> Any:
        return value.removeprefix("studio:") if isinstance(value, str) else value

    @field_validator("until", mode="before")
    @classmethod
    def _a_moment(cls, value: Any) -> Any:
        if isinstance(value, date):  # TOML has dates of its own
            return value.isoformat()
        try:
            return value if value is None else datetime.fromisoformat(value) and value
        except ValueError as error:
            raise ValueError(f"{error}; expected a moment such as 2026-12-24 or 2026-12-24T18:00") from error

    @model_validator(mode="after")
    def _one_place(self) -> "LabelStageSettings":
        if (self.project is None) == (self.file is None):
            raise ValueError(
                f"people label either in a project (project=studio:NAME) or in a file (file=labels.jsonl); seen "
                f"{'neither' if self.project is None else 'both'}"
            )
        return self


class PromoteSettings(Settings):
    """Whether a new policy takes the place of the last promoted one, by an evaluation of both."""

    candidate: str
    """The new policy: a run or a folder."""
    last: str
    """The policy that stays if the new one is not promoted."""
    evaluation: str
    """A run of `evaluate` with both policies, whose baseline is the last one."""
    model: str = "new"
    """The new policy's name in the evaluation."""
    by: str = "reward"
    """The scorer that decides: the reward model, or a better one such as a gold scorer; or people, where the evaluation
    has human comparisons."""
    measure: Literal["wins", "score"] = "wins"
    """wins: the win rate against the last policy. score: the difference of the mean scores."""
    least: float = 0.0
    """Promote if the whole interval lies above this: of the win rate less 0.5, or of the difference of the scores."""
    guards: list[str] = Field(default_factory=lambda: ["refusals/over-refusal", "knowledge/*", "toxicity/*"])
    """Measures that must not become worse (group/name as in results.json, or group/*). Those that the evaluation does
    not have are named in the record."""
    tolerance: float = Field(default=0.0, ge=0)
    """How much worse a guarded measure's interval may be at least."""
    decision: Literal["promote", "keep"] | None = None
    """A person's decision in place of the rule: `steersman rounds promote | reject | rollback`."""
    reason: str = ""
    """The person's reason."""
    out: str
    """The folder of the promoted policy."""

    @model_validator(mode="after")
    def _reasoned(self) -> "PromoteSettings":
        if self.decision is not None and not self.reason.strip():
            raise ValueError(f"decision={self.decision} is a person's, and has no reason; give one with --reason")
        return self
