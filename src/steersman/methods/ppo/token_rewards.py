"""The reward of each token, from which every advantage estimator starts.

A token's reward is -beta * KL, and the last token's also the score. For the token itself the KL is always its log-ratio
log(policy / reference), whatever the estimator: only that has the gradient of the KL. An exact KL, for example, is the
same for every token that could be chosen in a state, so as that token's reward it would favour none. The estimator in
use counts in the returns of earlier tokens (docs/decisions/0021-kl-of-the-sampled-token-is-k1.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steersman.maths.masked import masked_mean, masked_variance, whiten_with
from steersman.maths.returns import token_rewards
from steersman.methods.ppo.records import Scored
from steersman.settings.advantage import AdvantageSettings

Padded = Float[Tensor, "answers time"]


@dataclass(frozen=True, slots=True)
class TokenRewards:
    """Padded rewards. `rewards` include the KL estimate; `kl_correction` is added to this token's reward only: -beta *
    (log ratio - KL estimate). `groups` are the prompts' places in the iteration: a prompt that came twice is two
    groups."""

    mask: Bool[Tensor, "answers time"]
    rewards: Padded
    kl_correction: Padded
    values: Padded | None
    groups: Int[Tensor, " answers"]

    @property
    def totals(self) -> Float[Tensor, " answers"]:
        """Reward of each whole answer: score, rewards of spans, and -beta * log(policy / reference)."""
        return (self.rewards + self.kl_correction).sum(1)


Estimator = Callable[[TokenRewards, AdvantageSettings], tuple[Padded, Padded]]
"""Advantages and returns of each token, padded like the rewards."""


def padded_token_rewards(
    scored: Sequence[Scored], settings: AdvantageSettings, *, kl_coefficient: float
) -> TokenRewards:
    lengths = torch.tensor([len(one.kl) for one in scored])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    scores = torch.tensor([one.score for one in scored])
    rewards = token_rewards(scores, _padded([one.kl for one in scored]), mask, coefficient=kl_coefficient)
    rewards = rewards + _padded([one.token_rewards for one in scored])
    kl_correction = -kl_coefficient * _padded([one.log_ratios - one.kl for one in scored])
    if settings.whiten_rewards:
        mean, variance = masked_mean(rewards, mask, if_empty=0.0), masked_variance(rewards, mask, if_empty=1.0)
        kl_correction = whiten_with(rewards + kl_correction, mask, mean, variance, keep_mean=True)
        rewards = whiten_with(rewards, mask, mean, variance, keep_mean=True)
        kl_correction = kl_correction - rewards
    values = [one.values for one in scored if one.values is not None]
    return TokenRewards(
        mask,
        rewards,
        kl_correction,
        _padded(values) if len(values) == len(scored) else None,
        torch.tensor([one.sample.rollout.prompt for one in scored]),
    )


def _padded(rows: Sequence[Tensor]) -> Padded:
    return pad_sequence(list(rows), batch_first=True)
