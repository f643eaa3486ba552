"""Two advantage estimators. Each takes the rewards of all tokens, padded, and returns advantages and returns."""

import torch
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.advantage import AdvantageSettings


def batch_mean(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """REINFORCE with the mean of the batch as baseline. It needs no critic."""
    totals = given.totals
    advantages = (totals - totals.mean())[:, None]
    return torch.where(given.mask, advantages, 0), torch.where(given.mask, totals[:, None], 0)


def one_step(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """The reward and the critic's next value, less its value: GAE with lambda 0."""
    assert given.values is not None, "an estimator of the group ..._with_critic has values"
    values = torch.where(given.mask, given.values, 0)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    advantages = given.rewards + settings.gamma * next_values - values
    return torch.where(given.mask, advantages, 0), torch.where(given.mask, advantages + values, 0)
