"""Settings of the reward in PPO and its relatives: how a score becomes a reward, and the KL penalty."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings

Estimator = Literal["k1", "k2", "k3", "full", "top_k"]


class ShapingSettings(Settings):
    """Reward shaping: how a score becomes the reward of an answer."""

    missing_eos_penalty: float | None = None
    """Subtracted from the score of an answer that reached max_new_tokens without EOS."""
    clip: float | None = Field(default=None, gt=0)
    """Clip scores to [-clip, clip]."""
    normalise: Literal["none", "running"] = "none"
    """running subtracts the running mean of the scores and divides by their running standard deviation, before `clip`.
    Reward models normalise their scores themselves."""
    centre: bool = True
    """With normalise=running, subtract the running mean. false only divides, as Ziegler et al. and TRL's reward scaling
    do."""
    preference_over: int | None = Field(default=None, ge=1, le=64)
    """Preference as reward (PAR): the mean of sigmoid(score - reference score) over this many answers of the initial
    policy to the same prompt. They are sampled and scored once, before the first iteration. The reward is then between
    0 and 1, so choose kl.coefficient for that scale."""
    overlong_tokens: int | None = Field(default=None, ge=1)
    """Penalise length linearly over this many last tokens before sampling.max_new_tokens, up to `overlong_penalty`
    (DAPO's soft overlong punishment)."""
    overlong_penalty: float = Field(default=1.0, gt=0)
    """What the score loses at most for the last `overlong_tokens` of an answer."""


class KlSettings(Settings):
    coefficient: float = Field(default=0.05, ge=0)
    """beta, the KL coefficient: the KL penalty in the reward is beta times the log-ratio of policy and reference."""
    estimator: Estimator = "k1"
    """Estimator of the KL penalty of later tokens; a token's own penalty is always k1. full and top_k use the whole
    distribution."""
    top_k: int = Field(default=32, ge=1)
    """For estimator=top_k: the reference's most likely tokens; all others form one bin."""
    controller: Literal["fixed", "adaptive", "target"] = "fixed"
    """How the KL coefficient changes: not at all; Ziegler's adaptive controller; or one that seeks `target`."""
    target: float = Field(default=6.0, gt=0)
    """Target KL of the adaptive and target controllers, in nats per answer."""
    horizon_iterations: float = Field(default=3.0, ge=1)
    """Horizon of the adaptive controller, in iterations: a larger one changes the coefficient more slowly. At 3 the
    coefficient changes by at most 6.7 % per iteration, or tenfold in about 35."""
    horizon: float | None = Field(default=None, gt=0)
    """The same horizon in answers, as in Ziegler et al. (10,000) and TRL; replaces `horizon_iterations`."""
    loss_coefficient: float = Field(default=0.0, ge=0)
    """Coefficient of a KL term in the loss, besides the one in the reward. Their gradients differ: see docs/ppo.md."""
    loss_estimator: Literal["k2", "k3"] = "k2"
    """Estimator of the KL in the loss: k2, or k3 as in GRPO."""
    loss_correction: Literal["none", "ratio"] = "none"
    """ratio multiplies the KL term in the loss by the ratio new / old, with its gradient. The gradient of k3 is then
    that of each state's KL, which it is not by itself (arXiv 2512.02556, equation 7)."""
    limit: float | None = Field(default=None, gt=0)
    """Stop the run when an iteration's KL exceeds this many nats per answer."""

    @model_validator(mode="after")
    def _controllers_multiply(self) -> "KlSettings":
        if self.controller != "fixed" and self.coefficient == 0:
            raise ValueError(
                f"controller={self.controller} multiplies kl.coefficient, which is 0; expected more, such as 0.05"
            )
        return self

    @model_validator(mode="after")
    def _something_to_correct(self) -> "KlSettings":
        if self.loss_correction != "none" and not self.loss_coefficient:
            raise ValueError(
                f"kl.loss_correction={self.loss_correction} has no effect here: it corrects the KL in the loss, and "
                "kl.loss_coefficient is 0; set it, or leave loss_correction out"
            )
        return self
