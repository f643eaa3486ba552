"""Settings of best-of-n: sample several answers a prompt, keep the best by a scorer, fine-tune on them."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.parts import ModelSettings, OptimiserSettings, RunSettings, TrainSettings
from steersman.settings.ppo import SamplingSettings
from steersman.settings.score import ScorerSettings, SourceSettings


class BestOfNSampling(SamplingSettings):
    q_beta: float | None = Field(default=None, ge=0)
    """How much answers lean on the Q heads of a model that `ilql` made; its own beta if not given, 0 for its policy alone."""


class BestOfNSettings(Settings):
    model: ModelSettings
    """Who answers, and what is fine-tuned: usually a fine-tuned model or its run."""
    prompts: SourceSettings
    """Where prompts come from: records of any kind that has them. Each prompt is answered once."""
    sampling: BestOfNSampling = BestOfNSampling()
    n: int = Field(default=8, ge=2)
    """Answers to each prompt, of which the best is kept."""
    scorer: ScorerSettings
    least_score: float | None = None
    """Leave prompts out whose best answer scores less (rejection sampling: 1 for answers that are right or wrong)."""
    held_out: float | None = Field(default=0.05, ge=0, lt=1)
    """Share of the best answers, by prompt, that is measured and not learned."""
    max_length: int = Field(default=1024, ge=2)
    """Longer rows (prompt and answer, in tokens) are cut."""
    optimiser: OptimiserSettings = OptimiserSettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings
