"""Settings of prompts and of sampling answers to them, for every method that learns from its own answers."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.columns import ColumnSettings
from steersman.settings.parts import Template


class PromptSettings(Settings):
    source: str
    """A file, a folder, a hub id, or a named source such as harbour:prompts. Records of any kind that has prompts."""
    more: list[str] = Field(default_factory=list)
    """Further sources whose prompts are learned from too, such as harbour:red-team beside ordinary ones."""
    format: str | None = None
    """Name of the data format; detected from the field names if not given."""
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    split: str | None = None
    """The split of a data set: train, validation, test …"""
    held_out: float | str | None = 0.05
    """Held-out prompts, for evaluation only: a share of the prompts, a second source, or none."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many records."""
    template: Template = "auto"
    """auto: a plain prompt is a user message to a model with a chat template, unless its row says `continue`. chat:
    also to a model without one, which gets ours. none: plain prompts are continued as they are."""
    max_length: int = Field(default=512, ge=1)
    """Longer prompts (in tokens) are left out and counted."""
    strict: bool = False
    """Stop at the first malformed row instead of leaving it out."""


class SamplingSettings(Settings):
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""
    min_new_tokens: int = Field(default=0, ge=0)
    """Answers do not end before this many tokens."""
    temperature: float = Field(default=1.0, ge=1e-4)
    """Sampling temperature. The logits of policy and reference are divided by it too, so log-probs match the
    sampling."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many most likely tokens; 0: from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens whose probabilities add up to this."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the most likely one."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1: tokens that came before become less likely."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end an answer."""
