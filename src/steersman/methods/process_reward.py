"""Process reward models: whether each step of an answer is right, by cross-entropy at the step's last token.

Lightman et al. 2023 (arXiv 2305.20050), section 2.5; labels from people or from roll-outs (Math-Shepherd, arXiv
2312.08935).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from steersman.batches import StepRow, TokenBatch, pad_rows
from steersman.train.objective import Sums, Term


@runtime_checkable
class ScoresSteps(Protocol):
    """The trained model (in a run a Trainee): the log-odds that each target's step is right."""

    def step_logits(self, batch: TokenBatch) -> Float[Tensor, " steps"]: ...


@dataclass(frozen=True, slots=True)
class StepBatch:
    tokens: TokenBatch
    labels: Float[Tensor, " steps"]

    @property
    def positions(self) -> int:
        return self.tokens.positions


def collate(units: Sequence[StepRow], *, pad_id: int, device: torch.device, pad_multiple: int = 1) -> StepBatch:
    tokens = pad_rows([unit.row for unit in units], pad_id=pad_id, pad_multiple=pad_multiple)
    return StepBatch(tokens.to(device), torch.cat([unit.labels for unit in units]).to(device))


class ProcessReward:
    """The objective: the mean over all steps of the cross-entropy of their labels."""

    def weights(self, units: Sequence[StepRow]) -> Mapping[str, float]:
        return {"loss": float(sum(len(unit.labels) for unit in units))}

    def __call__(self, model: ScoresSteps, batch: StepBatch) -> Sums:
        logits = model.step_logits(batch.tokens)
        loss = functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")
        right = (logits.detach() > 0) == (batch.labels > 0.5)
        count = float(len(logits))
        return Sums(
            {"loss": Term(loss, 1.0)},
            {"accuracy": (float(right.sum()), count), "said to be right": (float((logits > 0).sum()), count)},
        )
