"""Generalised advantage estimation, with a critic (arXiv 1506.02438, equation 16).

With gamma = lambda = 1 the advantage is return - value.
"""

from steersman.maths.returns import advantages_and_returns
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.ppo import AdvantageSettings


def gae(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Advantages and returns of each token."""
    if given.values is None:
        raise ValueError("gae needs the value of every token; make the actors with a value head, or choose rloo, say")
    advantages, returns = advantages_and_returns(
        given.rewards, given.values, given.mask, gamma=settings.gamma, lambda_=settings.gae_lambda
    )
    return advantages + given.kl_correction, returns
