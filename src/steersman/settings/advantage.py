"""Settings of advantage estimation: ours, or an estimator that an installed package brings."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from steersman.extensions import PREFIX, extension_names
from steersman.settings.base import Settings

AdvantageEstimator = Literal["gae", "rloo", "grpo", "dr-grpo", "reinforce++"]
Extension = Annotated[str, StringConstraints(pattern=f"^{PREFIX}.+$")]

IN_GROUPS = ("rloo", "grpo", "dr-grpo")
"""Estimators whose baseline comes from the other answers to the same prompt."""


class AdvantageSettings(Settings):
    estimator: AdvantageEstimator | Extension = "gae"
    """gae needs a critic; the others do not. rloo, grpo and dr-grpo compare the answers to one prompt, reinforce++ all
    answers. extension:NAME is one that an installed package brings."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount factor per token."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """lambda of generalised advantage estimation: 1 is the return less the value, 0 one step ahead."""
    critic_lambda: float | None = Field(default=None, ge=0, le=1)
    """lambda of the critic's targets (VC-PPO), if it differs from `gae_lambda`. At 1 they are the rewards that
    followed, without the critic's own estimates in them."""
    whiten: bool = True
    """Whiten advantages to mean 0 and variance 1 over the batch. Off by default with rloo, grpo and dr-grpo."""
    whiten_rewards: bool = False
    """Scale rewards to variance 1 and keep their mean."""
    leave_out_equal: bool = False
    """Leave out prompts whose answers all have the same score: their advantages are 0."""
    redraws: int = Field(default=0, ge=0)
    """With leave_out_equal: draw further prompts in place of those left out, at most this many times per iteration
    (DAPO's dynamic sampling)."""
    length_adaptive: float | None = Field(default=None, gt=0)
    """Length-adaptive GAE (VAPO): lambda of an answer of l tokens is 1 - 1 / (length_adaptive * l), at least 0. The
    critic's targets keep their own lambda."""

    @property
    def has_critic(self) -> bool:
        with_critic = extension_names("steersman.advantage_estimators_with_critic")
        return self.estimator == "gae" or self.estimator.removeprefix(PREFIX) in with_critic

    @property
    def missing(self) -> bool:
        """Whether no installed package brings the estimator: the run says so, with the names that are there."""
        groups = ("steersman.advantage_estimators", "steersman.advantage_estimators_with_critic")
        return self.estimator.startswith(PREFIX) and self.estimator.removeprefix(PREFIX) not in extension_names(*groups)

    @property
    def method(self) -> str:
        """What a run with this estimator is called: ppo, or the method without a critic."""
        return "ppo" if self.estimator == "gae" or self.estimator.startswith(PREFIX) else self.estimator

    @field_validator("estimator", mode="wrap")
    @classmethod
    def _known_or_extension(cls, value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(value)
        except ValidationError:
            names = ", ".join(repr(name) for name in get_args(AdvantageEstimator))
            raise ValueError(f"expected {names} or {PREFIX}NAME") from None

    @model_validator(mode="after")
    def _redraws_what_is_left_out(self) -> "AdvantageSettings":
        if self.redraws and not self.leave_out_equal:
            raise ValueError(
                f"redraws={self.redraws} has no effect here: it draws prompts in place of those that "
                "advantage.leave_out_equal leaves out; set that too"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _by_the_estimator(cls, values: Any) -> Any:
        if isinstance(values, str):
            raise ValueError(f"advantage is a group of settings; write advantage.estimator={values}")
        if isinstance(values, Mapping) and values.get("estimator") in IN_GROUPS:
            return {"whiten": False, **values}
        return values
