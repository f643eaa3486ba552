"""Settings of ILQL: offline Q-learning from scored or judged answers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.parts import (
    PAD_BEFORE,
    DataSettings,
    ModelSettings,
    OptimiserSettings,
    RunSettings,
    TrainSettings,
)


class IlqlSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"data.template": "none", **PAD_BEFORE}

    model: ModelSettings
    """The initial model, usually a fine-tuned one. If it already has Q heads, their training continues."""
    data: DataSettings
    """Scored answers, comparisons, rankings, thumbs or steps, in any known format."""
    reward: str | None = None
    """Name of the score (or rating) that is the reward. If not given: an answer's only score, and -1 to 1 for
    judgements."""
    discount: float = Field(default=0.99, gt=0, le=1)
    """Discount factor per token (gamma)."""
    expectile: float = Field(default=0.7, gt=0, lt=1)
    """Expectile of the V loss (tau): 0.5 is the mean of Q over the tokens seen in a state; near 1 it approaches the
    maximum."""
    polyak: float = Field(default=0.005, gt=0, le=1)
    """Polyak factor: how far the target Q heads move towards the trained ones each step."""
    conservative: float = Field(default=0.1, ge=0)
    """Weight of the CQL term, which lowers Q of tokens that the data does not have."""
    imitation: float = Field(default=1.0, ge=0)
    """Weight of the policy's NLL on the answers. At 0 the policy changes only through the trunk that it shares with
    Q."""
    imitation_beta: float = Field(default=0.0, ge=0)
    """Weight each token's NLL by exp(imitation_beta * (Q - V)) (AWAC). 0 weights all tokens alike."""
    beta: float = Field(default=1.0, ge=0)
    """beta of the trained model's decoding: logits + beta * (Q - V). Saved with the model; q_beta overrides it when
    sampling."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=5e-5)
    train: TrainSettings = TrainSettings(keep="last")
    run: RunSettings
