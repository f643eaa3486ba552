"""A scorer whose models are offloaded to CPU memory except while it scores."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from steersman.models.offloaded import Offloaded
from steersman.reward.scorer import Item, Score, Scorer, ahead_of


@runtime_checkable
class HoldsModels(Protocol):
    """A scorer with models of its own on the device."""

    def models(self) -> Sequence[nn.Module]: ...


def models_of(*scorers: Scorer) -> list[nn.Module]:
    """The models of these scorers; functions, services and rules have none."""
    return [model for scorer in scorers if isinstance(scorer, HoldsModels) for model in scorer.models()]


class OffloadedScorer:
    """A scorer with offloaded models; the scores are unchanged."""

    def __init__(self, scorer: Scorer, offloaded: Offloaded) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._offloaded = offloaded

    def score(self, items: Sequence[Item]) -> list[Score]:
        with self._offloaded.on_device():
            return self._scorer.score(items)

    def ahead(self) -> Callable[[Sequence[Item]], None] | None:
        return ahead_of(self._scorer)
