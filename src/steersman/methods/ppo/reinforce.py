"""REINFORCE++ (Hu 2025, arXiv 2501.03262): token rewards as in PPO, no critic; the baseline is the mean of the batch.

A token's advantage is the discounted sum of its reward and later ones. Whitening over all tokens of the batch
(`advantage.whiten`, on by default) then subtracts the mean, as in equation 14.
"""

import torch

from steersman.maths.returns import advantages_and_returns
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.advantage import AdvantageSettings


def reinforce(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Advantages, before whitening, and returns of each token."""
    nothing = torch.zeros_like(given.rewards)
    _, returns = advantages_and_returns(given.rewards, nothing, given.mask, gamma=settings.gamma, lambda_=1.0)
    return returns + given.kl_correction, returns
