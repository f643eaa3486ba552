"""Group-relative advantages without a value function: RLOO, GRPO, Dr.GRPO.

A group is the set of answers to one prompt. `groups[i]` is the group index of answer i. Rewards and advantages are per
answer, not per token.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Added to a group's standard deviation, as in TRL: rewards that differ by rounding only must not give large advantages.
DEVIATION_EPSILON = 1e-4

Answers = Float[Tensor, " answers"]
Groups = Int[Tensor, " answers"]


def _sums(values: Answers, groups: Groups) -> Answers:
    """For each answer, the sum of `values` over its group."""
    count = int(groups.max()) + 1
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, groups, values)[groups]


def _sizes(rewards: Answers, groups: Groups) -> Answers:
    sizes = _sums(torch.ones_like(rewards), groups)
    if bool((sizes < 2).any()):
        raise ValueError(
            f"{int((sizes < 2).sum())} answers are the only ones to their prompt; a group advantage compares "
            "answers to the same prompt. Sample 2 or more answers per prompt"
        )
    return sizes


def rloo_advantages(rewards: Answers, groups: Groups) -> Answers:
    """RLOO: the reward minus the mean reward of the *other* answers of the group.

    The baseline does not depend on the answer itself, so the gradient has no bias. Kool et al. 2019; Ahmadian et al.
    2024 (arXiv 2402.14740), equation 8.
    """
    return dr_grpo_advantages(rewards, groups) * (size := _sizes(rewards, groups)) / (size - 1)


def dr_grpo_advantages(rewards: Answers, groups: Groups) -> Answers:
    """Dr.GRPO (Liu et al. 2025, arXiv 2503.20783): the reward minus the group's mean; RLOO's times (n - 1) / n."""
    return rewards - _sums(rewards, groups) / _sizes(rewards, groups)


def grpo_advantages(rewards: Answers, groups: Groups) -> Answers:
    """GRPO (Shao et al. 2024, arXiv 2402.03300): Dr.GRPO's advantage divided by the group's standard deviation.

    The variance is divided by n - 1, as TRL does.
    """
    centred = dr_grpo_advantages(rewards, groups)
    deviation = (_sums(centred.square(), groups) / (_sizes(rewards, groups) - 1)).sqrt()
    return centred / (deviation + DEVIATION_EPSILON)


def all_alike(rewards: Answers, groups: Groups) -> Bool[Tensor, " answers"]:
    """For each answer, whether all answers of its group have the same reward."""
    count = int(groups.max()) + 1
    extremes = [
        rewards.new_zeros(count).scatter_reduce(0, groups, rewards, how, include_self=False) for how in ("amin", "amax")
    ]
    return (extremes[0] == extremes[1])[groups]
