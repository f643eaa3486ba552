"""A conservative version of an ensemble's score: the mean minus a number of standard deviations, or the minimum.

It is computed from the parts of the ensemble's scores, so it can replace the ensemble in the middle of a run.
"""

from collections.abc import Sequence
from typing import Literal

from steersman.errors import UsageError
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.model import RewardModelScorer
from steersman.reward.scorer import Item, Score, Scorer

Doubt = Literal["pessimistic", "min"]
BEFORE = "believed before"
"""The name of the part that keeps the ensemble's original score."""


def is_ensemble(scorer: Scorer) -> bool:
    """Whether its scores come from several members, with mean, std and min among the parts."""
    if isinstance(scorer, RewardModelScorer):
        return scorer.model.head.heads > 1
    return isinstance(scorer, EnsembleScorer)


class ConservativeScorer:
    """Replaces an ensemble's score by its minimum ("min") or by mean - pessimism * std ("pessimistic")."""

    def __init__(self, scorer: Scorer, *, doubt: Doubt, pessimism: float) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._doubt: Doubt = doubt
        self._pessimism = pessimism

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [self._conservative(score) for score in self._scorer.score(items)]

    def _conservative(self, score: Score) -> Score:
        parts = score.parts
        if not {"mean", "std", "min"} <= parts.keys():
            raise UsageError(
                f"a conservative score needs an ensemble's mean, std and min, and {self.name!r} gave the parts "
                f"{sorted(parts)}; expected an ensemble of reward models (several in scorer.path, or one with several "
                "heads)"
            )
        value = parts["min"] if self._doubt == "min" else parts["mean"] - self._pessimism * parts["std"]
        return Score(value, {**parts, BEFORE: score.value}, score.note, score.spans)
