"""ILQL, offline Q-learning from existing answers (Snell et al. 2022, arXiv 2206.11871).

The policy imitates the answers, Q and V learn the value of each token, and answers are sampled from
policy * exp(beta * (Q - V)). Q's target is the token's reward plus the discounted V of the next state. V is the upper
expectile of the minimum of two target Qs over the data's tokens. So Q estimates the best behaviour that the data
support, not the average behaviour of those who wrote them. The losses are in maths/q_learning.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import RewardedRow, TokenBatch, pad_rows
from steersman.maths.q_learning import expectile_loss, imitation_loss, next_values, td_loss, td_target
from steersman.maths.tokens import target_positions
from steersman.models.q_heads import QModel
from steersman.settings.ilql import IlqlSettings
from steersman.train.objective import Sums, Term


@dataclass(frozen=True, slots=True)
class RewardedBatch:
    tokens: TokenBatch
    rewards: Float[Tensor, " targets"]

    @property
    def positions(self) -> int:
        return self.tokens.positions


def collate(units: Sequence[RewardedRow], *, pad_id: int, device: torch.device, pad_multiple: int = 1) -> RewardedBatch:
    tokens = pad_rows([unit.row for unit in units], pad_id=pad_id, pad_multiple=pad_multiple)
    return RewardedBatch(tokens.to(device), torch.cat([unit.rewards for unit in units]).to(device))


def coefficients(settings: IlqlSettings) -> dict[str, float]:
    """The coefficient of each term; a term with coefficient 0 is not computed."""
    optional = {"conservative": settings.conservative, "imitation": settings.imitation}
    return {"q": 1.0, "value": 1.0, **{name: each for name, each in optional.items() if each}}


class QLearning:
    """The objective of ILQL: TD loss of Q, expectile loss of V, conservative term and imitation."""

    def __init__(self, settings: IlqlSettings) -> None:
        self.settings = settings
        self._coefficients = coefficients(settings)

    def weights(self, units: Sequence[RewardedRow]) -> Mapping[str, float]:
        targets = float(sum(len(unit.rewards) for unit in units))
        return dict.fromkeys(self._coefficients, targets)

    def __call__(self, model: QModel, batch: RewardedBatch) -> Sums:
        settings = self.settings
        outputs = model.outputs(batch.tokens)
        rows = target_positions(batch.tokens.loss_mask).row
        following = next_values(outputs.values.detach(), rows)
        q_target = td_target(batch.rewards.to(outputs.values), following, discount=settings.discount)
        advantage = outputs.target - outputs.values
        losses = {
            "q": lambda: td_loss(outputs.q, q_target),
            "value": lambda: expectile_loss(advantage, expectile=settings.expectile),
            "conservative": lambda: -outputs.q_log_probs.sum(0),
            "imitation": lambda: imitation_loss(outputs.log_probs, advantage, beta=settings.imitation_beta),
        }
        count = float(len(rows))
        shown = {"Q": outputs.q.mean(0), "V": outputs.values, "advantage": advantage}
        return Sums(
            {name: Term(losses[name]().sum(), each) for name, each in self._coefficients.items()},
            {name: (float(each.detach().sum()), count) for name, each in shown.items()},
        )
