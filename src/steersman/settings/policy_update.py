"""Settings of PPO's update: epochs, minibatches, ratio, clip, and what corrects for the engine's log-probs."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings

Importance = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]

# CISPO: MiniMax-M1 (arXiv 2506.13585) sets no lower bound; a weight of at most 5 is ScaleRL's (arXiv 2510.13786). GSPO:
# arXiv 2507.18071, section 5.1; the mean of an answer's log-ratios is small, and so are its bounds. IcePop: arXiv
# 2510.18855. Masked answers: TRL's cap.
DEFAULTS_OF: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("policy_loss", "cispo"): {"clip": 1.0, "clip_high": 4.0},
    ("ratio", "sequence_mean"): {"clip": 3e-4, "clip_high": 4e-4},
    ("importance", "token_mask"): {"importance_floor": 0.5, "importance_cap": 5.0},
    ("importance", "sequence_mask"): {"importance_cap": 3.0},
}


class UpdateSettings(Settings):
    epochs: int = Field(default=4, ge=1)
    """Passes over an iteration's answers."""
    minibatches: int = Field(default=4, ge=1)
    """Optimiser steps per epoch."""
    policy_loss: Literal["ppo", "cispo"] = "ppo"
    """ppo: the clipped objective; a token whose ratio left the clip range has no gradient. cispo: the clipped ratio
    weights the log-prob, so that every token keeps its gradient."""
    ratio: Literal["token", "sequence_mean", "sequence"] = "token"
    """The ratio new / old that is clipped. token: each token's (PPO). sequence_mean: the geometric mean over the answer
    (GSPO). sequence: the whole answer's, their product (RLOO as TRL clips it)."""
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
    """Weight of the value loss."""
    entropy_coefficient: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus."""
    positive_coefficient: float = Field(default=0.0, ge=0)
    """Coefficient of a likelihood loss on the answers whose score is above `positive_above` (VAPO: 0.1)."""
    positive_above: float = 0.5
    """The scorer's score above which an answer counts as right."""
    mean_over: Literal["tokens", "answers", "constant"] = "tokens"
    """Aggregation of the loss. tokens: mean over all answer tokens. answers: mean over answers of each answer's token
    mean. constant: mean over answers of each answer's token sum divided by sampling.max_new_tokens, so that a token's
    weight does not depend on its answer's length."""
    target_kl: float | None = Field(default=None, gt=0)
    """Stop an update early when the KL from the rollout policy exceeds this many nats per token."""
    importance: Importance = "token_truncate"
    """Importance weights trainer / engine (see mismatch_bound): of each token or of the whole answer; truncated at
    importance_cap, or masked, which gives weight 0 outside [importance_floor, importance_cap] (IcePop: token_mask)."""
    importance_cap: float = Field(default=2.0, ge=1)
    """Largest importance weight."""
    importance_floor: float = Field(default=0.0, ge=0, lt=1)
    """Smallest importance weight that is not masked."""
    mismatch_bound: float = Field(default=0.02, gt=0)
    """Mean log-prob difference between engine and trainer above which importance weights correct for it."""
    pretraining: str | None = None
    """Source of demonstrations or texts mixed into every update (PPO-ptx), against forgetting."""
    pretraining_coefficient: float = Field(default=1.0, ge=0)
    """Weight of the language-modelling loss on `pretraining` (PPO-ptx)."""

    @model_validator(mode="before")
    @classmethod
    def _published_defaults(cls, values: Any) -> Any:
        """Fill unset values with the published defaults of the chosen loss, ratio and importance weights."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for (name, chosen), defaults in DEFAULTS_OF.items():
            if values.get(name) == chosen:
                filled = {**defaults, **filled}
        return filled

    @model_validator(mode="after")
    def _used(self) -> "UpdateSettings":
        if self.policy_loss == "cispo" and self.dual_clip is not None:
            raise ValueError(
                f"dual_clip={self.dual_clip} has no effect here: policy_loss=cispo bounds every weight; leave it out"
            )
        if self.importance_floor and not self.importance.endswith("mask"):
            raise ValueError(
                f"importance_floor={self.importance_floor} has no effect here: importance={self.importance} masks "
                "nothing; choose token_mask or sequence_mask"
            )
        return self
