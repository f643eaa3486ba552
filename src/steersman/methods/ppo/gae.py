"""Generalised advantage estimation, with a critic (arXiv 1506.02438, equation 16).

With gamma = lambda = 1 the advantage is return - value. VC-PPO (arXiv 2503.01491) gives the critic's targets a lambda
of their own, VAPO (arXiv 2504.05118) makes the policy's lambda depend on the answer's length.
"""

from steersman.maths.returns import advantages_and_returns, length_adaptive_lambda
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.advantage import AdvantageSettings


def gae(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Advantages and returns of each token."""
    if given.values is None:
        raise ValueError("gae needs the value of every token; make the actors with a value head, or choose rloo, say")
    policys, critics = settings.gae_lambda, settings.gae_lambda
    if settings.length_adaptive is not None:
        policys = length_adaptive_lambda(given.mask, alpha=settings.length_adaptive)
    if settings.critic_lambda is not None:
        critics = settings.critic_lambda
    read = (given.rewards, given.values, given.mask)
    advantages, _ = advantages_and_returns(*read, gamma=settings.gamma, lambda_=policys)
    _, returns = advantages_and_returns(*read, gamma=settings.gamma, lambda_=critics)
    return advantages + given.kl_correction, returns
