"""Losses of ILQL (Snell et al. 2022, arXiv 2206.11871): offline Q-learning over the tokens of existing answers.

ILQL is IQL (Kostrikov et al. 2021, arXiv 2110.06169) for text. A state is the text so far, an action the next token.
Tensors are flat over the targets of a batch, row after row. `values[i]` is V of the state before target i; the next
state is the one before the next target of the same row. After a row's last target the episode ends: its value is 0.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Targets = Float[Tensor, " targets"]

# IQL clips its weights at 100 (its code: `exp_a = min(exp_a, 100)`), so that one far better answer does not dominate
# the step.
LARGEST_WEIGHT = 100.0


def next_values(values: Targets, rows: Int[Tensor, " targets"]) -> Targets:
    """V of the state after each target, 0 after the last target of a row. `rows[i]` is the row of target i."""
    following = torch.zeros_like(values)
    following[:-1] = values[1:] * (rows[1:] == rows[:-1])
    return following


def td_target(rewards: Targets, following: Targets, *, discount: float) -> Targets:
    """The TD target of Q (ILQL, equation 2): the token's reward plus the discounted V of the next state."""
    return rewards + discount * following


def td_loss(q: Float[Tensor, "heads targets"], target: Targets) -> Targets:
    """Squared TD error, summed over the heads. The caller must pass a target without gradient."""
    return (q - target).square().sum(0)


def expectile_loss(advantage: Targets, *, expectile: float) -> Targets:
    """The expectile loss of V (IQL, equation 5): |expectile - [advantage < 0]| * advantage².

    `advantage` is the minimum of the target Q heads minus V. V goes to the mean Q of a state's tokens at expectile 0.5,
    and to the largest Q seen in the data as the expectile nears 1.
    """
    # torch.where of two Python numbers gives float32, whatever the dtype of the advantage.
    weight = torch.where(advantage < 0, 1 - expectile, torch.full_like(advantage, expectile))
    return weight * advantage.square()


def imitation_loss(log_probs: Targets, advantage: Targets, *, beta: float) -> Targets:
    """Cross-entropy of the data's token, weighted by exp(beta * (Q - V)); beta 0 is plain imitation.

    AWAC (Nair et al. 2020, arXiv 2006.09359), equation 13. The weight has no gradient: only the policy learns here.
    """
    weight = (beta * advantage.detach()).exp().clamp(max=LARGEST_WEIGHT)
    return -weight * log_probs
