"""Settings of simulated annotators."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.score import SourceSettings


class SimulateSettings(Settings):
    data: SourceSettings
    """Answers, at least two different ones to a prompt."""
    people: str = "harbour"
    """harbour: the example's simulated annotators. Otherwise a scorer (file.py:function, a reward model) whose score is
    what one annotator likes."""
    annotators: int = Field(default=6, ge=1, le=6)
    """How many of Harbour's annotators judge."""
    fondness: float = Field(default=1.0, ge=0)
    """A factor on the liking of Harbour's annotators for exaggeration."""
    noise: float = Field(default=0.0, ge=0)
    """Of a scorer's choices: the probability of a choice is logistic(difference / noise); 0 always prefers the higher
    score."""
    pairs: Literal["all", "adjacent", "across", "random"] = "random"
    """Which pairs of a prompt's answers are judged; across: of different models only."""
    per_prompt: int = Field(default=1, ge=1)
    """Pairs per prompt with pairs=random."""
    judgements: int | None = Field(default=None, ge=1)
    """Stop at this many; one for each pair if not given."""
    overlap: float = Field(default=0.0, ge=0, le=1)
    """Share of the pairs that all annotators judge, to measure agreement."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is random. The same seed gives the same result."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    force: bool = False
    """Overwrite the file if it is there already."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps: of a reward model."""
