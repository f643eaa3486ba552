"""Settings of sampling answers."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.score import SourceSettings


class SampleSettings(Settings):
    model: str | list[str]
    """A folder, a run, a hub id or harbour:base; several share each prompt's answers, in turn."""
    prompts: SourceSettings
    """Where prompts come from: records of any kind that has them. Each prompt is answered once."""
    answers: int = Field(default=4, ge=1)
    """Answers to each prompt, over all models and temperatures together."""
    temperature: float | list[float] = 1.0
    """Several are used in turn. At 0 a model has one answer only."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    """Draw from so many likeliest tokens; 0 is off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=256, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    q_beta: float | None = Field(default=None, ge=0)
    """How much answers lean on the Q heads of a model that `ilql` made; its own beta if not given, 0 for its policy alone."""
    stop: list[str] = Field(default_factory=list)
    """An answer ends before any of these strings."""
    distinct: bool = False
    """Keep equal answers to a prompt out: draw again, a few times, and then leave them out."""
    out: str
    """The file to write (.jsonl). The same command goes on where it stopped."""
    seed: int = Field(default=0, ge=0)
    prompts_at_once: int = Field(default=64, ge=1)
    """Prompts answered together, and at most lost when the machine goes down. Changes speed, not the answers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    revision: str | None = None
