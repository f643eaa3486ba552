"""Generalised advantage estimation, with a critic (arXiv 1506.02438, equation 16).

With gamma = lambda = 1 the advantage is return - value. VC-PPO (arXiv 2503.01491) gives the critic's targets a lambda
of their own, VAPO (arXiv 2504.05118) makes the policy's lambda depend on the answer's length.
"""

from steersman.maths.returns import advantages_and_returns, length_adaptive_lambda
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.ppo import AdvantageSettings


def gae(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Advantages and returns of each token."""
    if given.values is None:
        raise ValueError("gae needs the value of every token; make the actors with a value head, or choose rloo, say")
    advantages, returns = advantages_and_returns(
        given.rewards, given.values, given.mask, gamma=settings.gamma, lambda_=settings.gae_lambda
    )
    if settings.critic_lambda is not None:
        _, returns = advantages_and_returns(
            given.rewards, given.values, given.mask, gamma=settings.gamma, lambda_=settings.critic_lambda
        )
    if settings.length_adaptive is not None:
        advantages, _ = advantages_and_returns(
            given.rewards,
            given.values,
            given.mask,
            gamma=settings.gamma,
            lambda_=length_adaptive_lambda(given.mask, alpha=settings.length_adaptive),
        )
    return advantages + given.kl_correction, returns
