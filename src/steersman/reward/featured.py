"""A scorer that keeps the reward model's features.

They come from the same forward pass as the score, at no extra cost.
"""

from collections.abc import Sequence

from jaxtyping import Float
from numpy import ndarray
from torch import nn

from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.model import RewardModelScorer
from steersman.reward.offloaded import models_of
from steersman.reward.scorer import Item, Score, Scorer


class FeatureKeeper:
    """A reward model scorer; `features` are those of the items scored last, in their order."""

    def __init__(self, scorer: RewardModelScorer) -> None:
        self.name = scorer.name
        self.features: Float[ndarray, "items hidden"] | None = None
        self._scorer = scorer

    def score(self, items: Sequence[Item]) -> list[Score]:
        scores, self.features = self._scorer.score_and_features(items)
        return scores

    def models(self) -> list[nn.Module]:
        return models_of(self._scorer)


def keep_features(scorer: Scorer) -> tuple[Scorer, FeatureKeeper | None]:
    """The scorer with its features kept (an ensemble's first member's), and the keeper; None if it has no features."""
    if isinstance(scorer, RewardModelScorer):
        keeper = FeatureKeeper(scorer)
        return keeper, keeper
    if isinstance(scorer, EnsembleScorer) and isinstance(scorer.members[0], RewardModelScorer):
        keeper = FeatureKeeper(scorer.members[0])
        scorer.members[0] = keeper
        return scorer, keeper
    return scorer, None
