"""Q-learning over the tokens of answers that are given: ILQL (Snell et al. 2022, arXiv 2206.11871), which is IQL (Kostrikov et al.
2021, arXiv 2110.06169) for language.

A state is what was said so far, an action the next token. Everything is flat over the targets of a batch, row after row: `values[i]`
is V of the state before target i, and the state after it is the one before the next target of the same row. After a row's last
target nothing comes, so that what is expected there is 0.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Targets = Float[Tensor, " targets"]

# IQL holds its weights below 100 (its code, `exp_a = min(exp_a, 100)`): one answer that is far better must not be the whole step.
LARGEST_WEIGHT = 100.0


def next_values(values: Targets, rows: Int[Tensor, " targets"]) -> Targets:
    """V of the state after each target, 0 after the last of its row. `rows` says which row each target stands in."""
    found = torch.zeros_like(values)
    found[:-1] = values[1:] * (rows[1:] == rows[:-1])
    return found


def td_target(rewards: Targets, following: Targets, *, discount: float) -> Targets:
    """What Q of a token should be (ILQL, equation 2): its reward and the discounted value of what follows."""
    return rewards + discount * following


def td_loss(q: Float[Tensor, "heads targets"], target: Targets) -> Targets:
    """The squared error of each head, added up over the heads. No gradient may flow into the target: the caller sees to it."""
    return (q - target).square().sum(0)


def expectile_loss(advantage: Targets, *, expectile: float) -> Targets:
    """IQL, equation 5: |expectile - [advantage < 0]| * advantage². V, which it is taken of, is drawn towards the better tokens of a
    state: to their mean at 0.5, to the best of those that were seen near 1. `advantage` is min Q of the target heads less V."""
    # Two plain numbers to `where` would give a float32, whatever the advantage is in.
    weight = torch.where(advantage < 0, 1 - expectile, torch.full_like(advantage, expectile))
    return weight * advantage.square()


def imitation_loss(log_probs: Targets, advantage: Targets, *, beta: float) -> Targets:
    """Cross-entropy of the token taken, weighted by exp(beta * (Q - V)) (AWAC, Nair et al. 2020, arXiv 2006.09359, equation 13); with
    beta 0 plain imitation. The weight is a constant: only the policy learns from this."""
    weight = (beta * advantage.detach()).exp().clamp(max=LARGEST_WEIGHT)
    return -weight * log_probs
