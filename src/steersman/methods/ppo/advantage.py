"""Stage 3: scored samples -> experience. Reward of a token = -beta * KL, and the score on the last; advantages by GAE.

With gamma = lambda = 1 the advantage is return - value. Whitening runs over all tokens of the whole batch, whatever process
made them. GAE: arXiv 1506.02438, equation 16.

A token's own share of the KL is always log(policy / reference) of that token, whatever the estimator: only its gradient is that
of the KL. The exact KL of a state, say, is the same for every token that could be chosen there, so that as a reward it would
hold back all choices but the last. The estimator in use stands for the KL of the tokens that follow.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steersman.maths.masked import masked_mean, masked_variance, whiten, whiten_with
from steersman.maths.policy_loss import truncated_importance_weight
from steersman.maths.returns import advantages_and_returns, token_rewards
from steersman.methods.ppo.records import Experience, Scored
from steersman.settings.ppo import AdvantageSettings


def advantage(
    scored: Sequence[Scored], settings: AdvantageSettings, *, kl_coefficient: float, importance_cap: float | None
) -> list[Experience]:
    """What each token earned and how much better that was than expected. `importance_cap` None: engine and trainer agree."""
    mask = _padded([torch.ones(len(one.kl)) for one in scored]).bool()
    scores = torch.tensor([one.score for one in scored])
    rewards = token_rewards(scores, _padded([one.kl for one in scored]), mask, coefficient=kl_coefficient)
    rewards = rewards + _padded([one.token_rewards for one in scored])
    own = -kl_coefficient * _padded([one.log_ratios - one.kl for one in scored])
    if settings.whiten_rewards:
        mean, variance = masked_mean(rewards, mask, if_empty=0.0), masked_variance(rewards, mask, if_empty=1.0)
        own = whiten_with(rewards + own, mask, mean, variance, keep_mean=True)
        rewards = whiten_with(rewards, mask, mean, variance, keep_mean=True)
        own = own - rewards
    values = _padded([one.values for one in scored])
    advantages, returns = advantages_and_returns(
        rewards, values, mask, gamma=settings.gamma, lambda_=settings.gae_lambda
    )
    advantages = advantages + own
    if settings.whiten:
        advantages = whiten(advantages, mask, keep_mean=False)
    found: list[Experience] = []
    for i, one in enumerate(scored):
        length = len(one.kl)
        found.append(
            Experience(
                one, rewards[i, :length], advantages[i, :length], returns[i, :length], _importance(one, importance_cap)
            )
        )
    return found


def mismatch(scored: Sequence[Scored]) -> float:
    """Mean absolute difference between the engine's and the trainer's log-probability of the sampled tokens."""
    gaps = [(one.old_log_probs - torch.tensor(one.sample.rollout.log_probs)).abs() for one in scored]
    return float(torch.cat(gaps).mean())


def explained_variance(experience: Sequence[Experience]) -> float:
    """1 - Var(return - value) / Var(return): 1 if the value function foresees everything, 0 if it knows no more than the mean."""
    returns = torch.cat([one.returns for one in experience])
    values = torch.cat([one.scored.values for one in experience])
    variance = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / variance) if float(variance) > 1e-12 else 0.0


def _importance(one: Scored, cap: float | None) -> Float[Tensor, " tokens"]:
    if cap is None:
        return torch.ones_like(one.old_log_probs)
    return truncated_importance_weight(one.old_log_probs, torch.tensor(one.sample.rollout.log_probs), cap=cap)


def _padded(rows: Sequence[Tensor]) -> Float[Tensor, "batch time"]:
    return pad_sequence(list(rows), batch_first=True)
