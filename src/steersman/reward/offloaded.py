"""A scorer whose models lie in the processor's memory and come to the device only while it scores."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from steersman.models.offloaded import Offloaded
from steersman.reward.scorer import Item, Score, Scorer, ahead_of


@runtime_checkable
class HoldsModels(Protocol):
    """A scorer that computes with models of its own on the device."""

    def models(self) -> Sequence[nn.Module]: ...


def models_of(*scorers: Scorer) -> list[nn.Module]:
    """The models of scorers; none of functions, services and rules."""
    return [model for scorer in scorers if isinstance(scorer, HoldsModels) for model in scorer.models()]


class ParkedScorer:
    """The same scores: where the models lie between two calls changes none."""

    def __init__(self, scorer: Scorer, parked: Offloaded) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._parked = parked

    def score(self, items: Sequence[Item]) -> list[Score]:
        with self._parked.on_device():
            return self._scorer.score(items)

    def ahead(self) -> Callable[[Sequence[Item]], None] | None:
        return ahead_of(self._scorer)
