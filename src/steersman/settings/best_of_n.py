"""Settings of best-of-n: sample several answers per prompt, keep the highest-scoring one, fine-tune on those."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import PAD_BEFORE, ModelSettings, OptimiserSettings, RunSettings, TrainSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.score import ScorerSettings, SourceSettings, judged_by


class BestOfNSampling(SamplingSettings):
    q_beta: float | None = Field(default=None, ge=0)
    """beta of an ILQL model's decoding: logits + beta * (Q - V). The model's own beta if not given; 0 is its policy
    alone."""


class BestOfNSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"prompts.template": "none", **PAD_BEFORE}

    model: ModelSettings
    """The model that samples the answers and is then fine-tuned. Usually a fine-tuned model or its run."""
    prompts: SourceSettings
    """Records of any kind that has prompts. Duplicate prompts are used once."""
    sampling: BestOfNSampling = BestOfNSampling()
    n: int = Field(default=8, ge=2)
    """Answers sampled per prompt. The best one is kept."""
    scorer: ScorerSettings
    least_score: float | None = None
    """Leave out prompts whose best answer scores below this (rejection sampling; 1 for right-or-wrong scores)."""
    held_out: float | None = Field(default=0.05, ge=0, lt=1)
    """Share of the prompts held out from training, with their best answers, to measure the loss on."""
    max_length: int = Field(default=1024, ge=2)
    """Longer rows (prompt and answer, in tokens) are truncated."""
    optimiser: OptimiserSettings = OptimiserSettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings

    @model_validator(mode="after")
    def _a_judge_is_the_reference(self) -> "BestOfNSettings":
        object.__setattr__(self, "scorer", judged_by(self.scorer, self.model.path))
        return self
