"""RLOO, GRPO and Dr.GRPO: a whole answer is one action, better or worse than the other answers to its prompt. No
critic.

They differ in the baseline (`maths.group_advantages`), and in what the loss is a mean over (`update.mean_over`).
Every token of an answer has the answer's advantage, and its return is the answer's whole reward.
"""

import torch

from steersman.maths.group_advantages import dr_grpo_advantages, grpo_advantages, rloo_advantages
from steersman.methods.ppo.token_rewards import Padded, TokenRewards
from steersman.settings.advantage import AdvantageSettings


def rloo(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """REINFORCE with the mean of the other answers as baseline (arXiv 2402.14740)."""
    return _for_every_token(given, rloo_advantages(given.totals, given.groups))


def grpo(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """In standard deviations of the group (arXiv 2402.03300): what is easy or hard for all weighs as much as the
    rest."""
    return _for_every_token(given, grpo_advantages(given.totals, given.groups))


def dr_grpo(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
    """Without the deviations (arXiv 2503.20783): RLOO times (n - 1) / n."""
    return _for_every_token(given, dr_grpo_advantages(given.totals, given.groups))


def _for_every_token(given: TokenRewards, advantages: torch.Tensor) -> tuple[Padded, Padded]:
    return torch.where(given.mask, advantages[:, None], 0), torch.where(given.mask, given.totals[:, None], 0)
