"""The interface between a method and the training core: objectives return sums and weights, and only the core divides.

A loss of several means (PPO with a pretraining mix, DPO with a likelihood term) is then exact for any micro-batch size,
any padding and any number of ranks: loss = sum over terms of coefficient * (sum of totals) / (sum of weights).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Unit(Protocol):
    """The smallest part of a batch, never split: a row, or the answers to one prompt. It may hold several sequences."""

    @property
    def lengths(self) -> tuple[int, ...]: ...


@runtime_checkable
class Batch(Protocol):
    @property
    def positions(self) -> int:
        """Number of positions the model computes for this batch, padding included."""
        ...


UnitT = TypeVar("UnitT", bound=Unit)
UnitIn = TypeVar("UnitIn", bound=Unit, contravariant=True)
BatchT = TypeVar("BatchT", bound=Batch)
BatchOut = TypeVar("BatchOut", bound=Batch, covariant=True)
BatchIn = TypeVar("BatchIn", contravariant=True)


@dataclass(frozen=True, slots=True)
class Term:
    total: Float[Tensor, ""]
    coefficient: float


@dataclass(frozen=True, slots=True)
class Sums:
    """An objective's sums over one micro-batch. `metrics` are (sum, weight) pairs, for the journal only. Each may
    be a tensor of one number, which is read at the end of the step.

    `later` computes further terms of the batch that share no trainable weight with these. It is called after the
    backward pass of these, so that only one part's activations are in memory at a time.
    """

    terms: Mapping[str, Term]
    metrics: Mapping[str, tuple[float | Tensor, float | Tensor]]
    later: "Callable[[], Sums] | None" = None


@runtime_checkable
class Objective(Protocol[UnitIn, BatchIn]):
    def weights(self, units: Sequence[UnitIn]) -> Mapping[str, float]:
        """Each term's total weight, from the data alone: the core needs it before the first backward pass."""
        ...

    def __call__(self, model: Any, batch: BatchIn) -> Sums:
        """The sums over one micro-batch. `model` is the module the learner was given; the core does not inspect it."""
        ...


@runtime_checkable
class Collate(Protocol[UnitIn, BatchOut]):
    def __call__(self, units: Sequence[UnitIn]) -> BatchOut: ...
