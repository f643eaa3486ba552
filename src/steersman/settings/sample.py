"""Settings of sampling answers."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.score import SourceSettings


class SampleSettings(Settings):
    model: str | list[str]
    """A folder, a run, a hub id or harbour:base. With several models, the answers to each prompt come from them in
    turn; one that is named twice gives twice as many."""
    prompts: SourceSettings
    """Records of any kind that has prompts. Duplicate prompts are used once."""
    answers: int = Field(default=4, ge=1)
    """Answers per prompt, over all models and temperatures together."""
    temperature: float | list[float] = 1.0
    """Several temperatures are used in turn. 0 is greedy decoding, one answer per model."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens whose probabilities add up to this."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many most likely tokens; 0 is off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the most likely one."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1: tokens that came before become less likely."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens."""
    min_new_tokens: int = Field(default=0, ge=0)
    """Answers do not end before this many tokens."""
    q_beta: float | None = Field(default=None, ge=0)
    """beta of an ILQL model's decoding: logits + beta * (Q - V). The model's own beta if not given; 0 is its policy
    alone."""
    stop: list[str] = Field(default_factory=list)
    """Stop strings: an answer ends before the first of them."""
    distinct: bool = False
    """Leave out duplicate answers to a prompt; each is resampled a few times first."""
    out: str
    """The file to write (.jsonl). The same command continues where it stopped."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is random. The same seed gives the same result."""
    prompts_at_once: int = Field(default=64, ge=1)
    """Prompts per batch. At most one batch is lost when the process is killed. Changes speed, not the answers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    revision: str | None = None
    """Commit, tag or branch of a model of the hub."""
