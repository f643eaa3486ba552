"""REINFORCE++ (Hu 2025, arXiv 2501.03262): token by token as in PPO, with no critic; what is expected is the mean of
the batch.

A token's advantage is what it and the tokens after it were given, discounted by gamma; whitening over all tokens of the
batch (`advantage.whiten`, on unless told) then takes the mean off, as equation 14 has it.
"""

import torch

from steersman.maths.returns import advantages_and_returns
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.ppo import AdvantageSettings


def reinforce(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Advantages, before whitening, and returns of each token."""
    nothing = torch.zeros_like(given.rewards)
    _, returns = advantages_and_returns(given.rewards, nothing, given.mask, gamma=settings.gamma, lambda_=1.0)
    return returns + given.kl_correction, returns
