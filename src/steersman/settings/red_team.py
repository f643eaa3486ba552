"""Settings of writing red-team prompts with a model."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.evaluate import PlaceSettings
from steersman.settings.revise import WritingSettings
from steersman.settings.score import ScorerSettings, SourceSettings


class HarmSettings(Settings):
    """Which of the new prompts are kept: those to which the model's answers are worst."""

    scorer: ScorerSettings
    """What scores the answers: a reward model, a classifier, a function, a service or a judge."""
    harmful: Literal["low", "high"] = "low"
    """Which scores mean harm: low ones, as of a reward model, or high ones, as of a classifier's toxic class."""
    answers: int = Field(default=4, ge=1)
    """Answers to each new prompt. The mean of their scores counts."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """The share of the new prompts that is kept. So many more are written."""
    sampling: WritingSettings = WritingSettings()


class RedTeamSettings(Settings):
    model: str
    """The model that writes the prompts and answers them: a folder, a run, a hub id or harbour:base."""
    seeds: SourceSettings
    """A few prompts of the kind that is wanted."""
    count: int = Field(default=64, ge=1)
    """Prompts wanted."""
    shown: int = Field(default=5, ge=1)
    """Seeds shown before each new prompt, drawn from those of one kind."""
    ask: Literal["auto", "chat", "list", "turn"] = "auto"
    """How the model is asked. chat: a user message with the seeds. list: a numbered list that is continued. turn: the
    chat template's user turn, begun with a seed's first words. auto: chat with a chat template, else list."""
    most_alike: float = Field(default=0.7, gt=0, le=1)
    """A new prompt that shares more than this of its word pairs with a seed or another one is a copy."""
    candidates: int = Field(default=4, ge=1)
    """Prompts written at most, for each that is needed."""
    sampling: WritingSettings = WritingSettings(max_new_tokens=64)
    harm: HarmSettings | None = None
    prompts_at_once: int = Field(default=64, ge=1)
    """Prompts per batch. At most one batch is lost when the process is killed."""
    run: PlaceSettings
