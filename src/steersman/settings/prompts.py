"""Settings of prompts and of sampling answers to them, for every method that learns from its own answers."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.columns import ColumnSettings
from steersman.settings.parts import Template


class PromptSettings(Settings):
    source: str
    """A file, a folder, a hub id, or a named source such as harbour:prompts. Records of any kind that has prompts."""
    format: str | None = None
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    split: str | None = None
    held_out: float | str | None = 0.05
    """Held-out prompts, for evaluation only: a share of the prompts, a second source, or none."""
    limit: int | None = Field(default=None, ge=1)
    template: Template = "auto"
    """auto: a plain prompt is a user message to a model with a chat template, unless its row says `continue`. chat:
    also to a model without one, which gets ours. none: plain prompts are continued as they are."""
    max_length: int = Field(default=512, ge=1)
    """Longer prompts (in tokens) are left out and counted."""
    strict: bool = False


class SamplingSettings(Settings):
    max_new_tokens: int = Field(default=64, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, ge=1e-4)
    """Sampling temperature. The logits of policy and reference are divided by it too, so log-probs match the
    sampling."""
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: list[str] = Field(default_factory=list)
