"""What is known of the answers to held-out prompts: all that the objective of training is computed from.

The objective is what PPO maximises: the mean of the shaped scores (normalised, clipped, less the penalties) and span
rewards, less beta times the KL. Scale and beta change during a run, so two evaluations are compared by those of now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.methods.ppo.records import Scored
from steersman.methods.ppo.shaping import Answered, RunningScale, shape
from steersman.settings.shaping import ShapingSettings


@dataclass
class HeldOut:
    """One evaluation on held-out prompts; saved with checkpoints for the best one so far."""

    scores: list[float] = field(default_factory=list[float])
    """Each answer's raw score."""
    cut_off: list[bool] = field(default_factory=list[bool])
    tokens: list[int] = field(default_factory=list[int])
    span_reward: float = 0.0
    """The mean sum of an answer's span rewards."""
    kl: float = 0.0
    """The mean KL to the reference, in nats per answer."""

    @staticmethod
    def of(scored: Sequence[Scored]) -> "HeldOut":
        return HeldOut(
            [one.raw_score for one in scored],
            [one.sample.rollout.finish_reason == "length" for one in scored],
            [len(one.sample.rollout.ids) for one in scored],
            sum(float(one.token_rewards.sum()) for one in scored) / len(scored),
            sum(one.sequence_kl for one in scored) / len(scored),
        )

    @staticmethod
    def from_facts(facts: Mapping[str, Any] | None) -> "HeldOut | None":
        return None if facts is None else HeldOut(**facts)

    def shaped(self, settings: ShapingSettings, scale: RunningScale, *, longest: int) -> float:
        """The mean shaped score. Before the first iteration there is no running scale, so that of these scores is
        used."""
        if not scale.count:
            scale = RunningScale()
            scale.add(self.scores)
        answers = [Answered(*one) for one in zip(self.scores, self.cut_off, self.tokens, strict=True)]
        return sum(shape(answers, settings, scale, longest=longest)) / len(answers) + self.span_reward
