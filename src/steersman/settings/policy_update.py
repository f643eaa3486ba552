"""Settings of PPO's update: epochs, minibatches, ratio, clip, and what corrects for the engine's log-probs."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings


class UpdateSettings(Settings):
    epochs: int = Field(default=4, ge=1)
    minibatches: int = Field(default=4, ge=1)
    clip: float = Field(default=0.2, gt=0)
    """PPO's clip range epsilon: the ratio is clipped to [1 - clip, 1 + clip]."""
    clip_high: float | None = Field(default=None, gt=0)
    """Upper clip range, if it differs from `clip` (DAPO's clip-higher)."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Dual-clip PPO: lower bound on the objective of tokens with a negative advantage, as a multiple of the
    advantage."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """Clip range of the value loss around the old values."""
    value_coefficient: float = Field(default=0.1, ge=0)
    entropy_coefficient: float = Field(default=0.0, ge=0)
    mean_over: Literal["tokens", "answers", "constant"] = "tokens"
    """Aggregation of the loss. tokens: mean over all answer tokens. answers: mean over answers of each answer's token
    mean. constant: mean over answers of each answer's token sum divided by sampling.max_new_tokens, so that a token's
    weight does not depend on its answer's length."""
    target_kl: float | None = Field(default=None, gt=0)
    """Stop an update early when the KL from the rollout policy exceeds this many nats per token."""
    importance_cap: float = Field(default=2.0, ge=1)
    """Cap of the truncated importance weights (see mismatch_bound)."""
    mismatch_bound: float = Field(default=0.02, gt=0)
    """Mean log-prob difference between engine and trainer above which truncated importance weights correct for it."""
    pretraining: str | None = None
    """Source of demonstrations or texts mixed into every update (PPO-ptx), against forgetting."""
    pretraining_coefficient: float = Field(default=1.0, ge=0)
