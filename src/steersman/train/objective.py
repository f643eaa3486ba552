"""What a method hands to the training core: sums and what they are summed over. The core alone divides.

A loss of several means (PPO with a pretraining mix, DPO with a likelihood term) is then exact for any micro-batch size,
any padding and any number of processes: loss = sum over terms of coefficient * (sum of totals) / (sum of weights).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Unit(Protocol):
    """What is never torn apart: a row, or the answers to one prompt. It may hold several sequences."""

    @property
    def lengths(self) -> tuple[int, ...]: ...


@runtime_checkable
class Batch(Protocol):
    @property
    def positions(self) -> int:
        """How many places the model computes for this batch, padding included."""
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
    """`metrics` are (sum, weight) pairs, for the journal only. `later` gives more of the batch's terms, which share no weight that learns
    with these: it is asked once the gradients of these are there, so that the activations of one part alone are held."""

    terms: Mapping[str, Term]
    metrics: Mapping[str, tuple[float, float]]
    later: "Callable[[], Sums] | None" = None


@runtime_checkable
class Objective(Protocol[UnitIn, BatchIn]):
    def weights(self, units: Sequence[UnitIn]) -> Mapping[str, float]:
        """What each term is a mean over, counted from the data alone: the core needs the total before the first backward."""
        ...

    def __call__(self, model: Any, batch: BatchIn) -> Sums:
        """`model` is whatever module the learner was given; the core does not look inside."""
        ...


@runtime_checkable
class Collate(Protocol[UnitIn, BatchOut]):
    def __call__(self, units: Sequence[UnitIn]) -> BatchOut: ...
