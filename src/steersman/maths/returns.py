"""Token rewards, advantages and returns from one score per answer and one KL per token.

Generalised advantage estimation: Schulman et al. 2016 (arXiv 1506.02438), equation 16. The score is added to the last
token of the response, as in Ziegler et al. 2019. Tokens outside the mask (prompt, padding, tool output) are skipped:
the state after token t is the one before the next token inside the mask.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def last_positions(mask: Bool[Tensor, "batch time"]) -> Int[Tensor, " batch"]:
    """The index of the last True entry of each row."""
    if not bool(mask.any(dim=1).all()):
        empty = int((~mask.any(dim=1)).sum())
        raise ValueError(
            f"{empty} of {len(mask)} rows have no response token to add the score to. "
            "A response holds at least its EOS token; leave empty responses out of the batch."
        )
    columns = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, columns, -1).amax(dim=1)


def token_rewards(
    scores: Float[Tensor, " batch"],
    kl: Float[Tensor, "batch time"],
    response_mask: Bool[Tensor, "batch time"],
    *,
    coefficient: float,
) -> Float[Tensor, "batch time"]:
    """Reward of each token: -coefficient * kl on response tokens, plus the score on the last; zero elsewhere."""
    rewards = torch.where(response_mask, -coefficient * kl, 0)
    return rewards.scatter_add(1, last_positions(response_mask)[:, None], scores[:, None].to(rewards.dtype))


def advantages_and_returns(
    rewards: Float[Tensor, "batch time"],
    values: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    gamma: float,
    lambda_: float | Float[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """GAE advantages and returns (advantage + value), zero outside the mask. The value after the last token is 0.

    values[:, t] is the value of the state in which token t is chosen, rewards[:, t] the reward of that token. `lambda_`
    may differ between answers.
    """
    advantages = torch.zeros_like(rewards)
    later_advantage = torch.zeros_like(rewards[:, 0])
    later_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        counts = mask[:, t]
        td_error = rewards[:, t] + gamma * later_value - values[:, t]
        advantage = td_error + gamma * lambda_ * later_advantage
        later_advantage = torch.where(counts, advantage, later_advantage)
        later_value = torch.where(counts, values[:, t], later_value)
        advantages[:, t] = torch.where(counts, advantage, 0)
    return advantages, torch.where(mask, advantages + values, 0)


def length_adaptive_lambda(mask: Bool[Tensor, "batch time"], *, alpha: float) -> Float[Tensor, " batch"]:
    """VAPO's lambda of each answer (arXiv 2504.05118): 1 - 1 / (alpha * length), at least 0.

    The weights of the TD errors then sum to alpha * length: a reward reaches the same share of every answer.
    """
    return (1 - 1 / (alpha * mask.sum(1).clamp(min=1))).clamp(min=0)
