"""The smallest model for the training core: y = weight * x, by least squares, with every number worked by hand.

With the points (1, 2) and (2, 2), weight 0 and learning rate 0.1: loss = (4 + 4) / 2 = 4, gradient = mean of 2 (0 - y)
x = (-4 - 8) / 2 = -6, so that the weight after one step is 0.6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steersman.parallel.world import World
from steersman.train.core import Learner
from steersman.train.objective import Sums, Term
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast


@dataclass(frozen=True)
class Point:
    x: float
    y: float

    @property
    def lengths(self) -> tuple[int, ...]:
        return (1,)


@dataclass(frozen=True)
class Points:
    x: Tensor
    y: Tensor

    @property
    def positions(self) -> int:
        return len(self.x)


TWO = [Point(1.0, 2.0), Point(2.0, 2.0)]


def collate(points: Sequence[Point]) -> Points:
    return Points(torch.tensor([p.x for p in points]), torch.tensor([p.y for p in points]))


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class Squares:
    """The mean of the squared errors."""

    def weights(self, units: Sequence[Point]) -> Mapping[str, float]:
        return {"square": float(len(units))}

    def __call__(self, model: Any, batch: Points) -> Sums:
        return Sums({"square": Term((model(batch.x) - batch.y).square().sum(), 1.0)}, {})


def line_learner(
    model: nn.Module | None = None,
    optimiser: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    *,
    budget: int = 100,
    notices: list[str] | None = None,
    rate_at: Callable[[int], float] = lambda step: 1.0,
    max_grad_norm: float = 1e9,
    collate: Any = collate,
) -> Learner:
    model = model or Line()
    made = torch.optim.SGD(model.parameters(), lr=0.1) if optimiser is None else optimiser(model)
    return Learner(
        model,
        Optimisation(made, rate_at, max_grad_norm),
        Batching(collate, budget),
        World.alone(),
        precision=autocast("fp32", torch.device("cpu")),
        notice=(notices if notices is not None else []).append,
    )
