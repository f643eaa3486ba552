"""How much better an answer is than the other answers to its prompt: advantages without a value function.

A group is one prompt's answers; `groups` numbers each answer's. Rewards are of whole answers, as are the advantages.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Added to a group's deviation, as in TRL: a group whose rewards differ by rounding alone is not blown up.
DEVIATION_EPSILON = 1e-4

Answers = Float[Tensor, " answers"]
Groups = Int[Tensor, " answers"]


def _sums(values: Answers, groups: Groups) -> Answers:
    """Each answer's group's sum."""
    count = int(groups.max()) + 1
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, groups, values)[groups]


def _sizes(rewards: Answers, groups: Groups) -> Answers:
    sizes = _sums(torch.ones_like(rewards), groups)
    if bool((sizes < 2).any()):
        raise ValueError(
            f"{int((sizes < 2).sum())} answers are the only ones to their prompt, so that there is nothing to compare them with; "
            "draw 2 or more answers to each prompt"
        )
    return sizes


def above_the_others(rewards: Answers, groups: Groups) -> Answers:
    """RLOO's: the reward less the mean of the *other* answers'. They do not depend on this one, so that the gradient has no bias.

    Kool et al. 2019; Ahmadian et al. 2024 (arXiv 2402.14740), equation 8.
    """
    return above_the_group(rewards, groups) * (size := _sizes(rewards, groups)) / (size - 1)


def above_the_group(rewards: Answers, groups: Groups) -> Answers:
    """Dr.GRPO's (Liu et al. 2025, arXiv 2503.20783): the reward less the group's mean; RLOO's times (n - 1) / n."""
    return rewards - _sums(rewards, groups) / _sizes(rewards, groups)


def in_deviations(rewards: Answers, groups: Groups) -> Answers:
    """GRPO's (Shao et al. 2024, arXiv 2402.03300): the same in the group's standard deviations, taken over n - 1 as TRL does."""
    centred = above_the_group(rewards, groups)
    deviation = (_sums(centred.square(), groups) / (_sizes(rewards, groups) - 1)).sqrt()
    return centred / (deviation + DEVIATION_EPSILON)


def all_alike(rewards: Answers, groups: Groups) -> Bool[Tensor, " answers"]:
    """Whether all answers of each answer's group have one and the same reward."""
    count = int(groups.max()) + 1
    ends = [
        rewards.new_zeros(count).scatter_reduce(0, groups, rewards, how, include_self=False) for how in ("amin", "amax")
    ]
    return (ends[0] == ends[1])[groups]
