"""An ensemble that is believed less than before: the mean less so many standard deviations, or the least of its members.

Made from the parts that an ensemble's scores have anyway, so that it may take the ensemble's place in the middle of a run.
"""

from collections.abc import Sequence
from typing import Literal

from steersman.errors import UsageError
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.model import RewardModelScorer
from steersman.reward.scorer import Item, Score, Scorer

Doubt = Literal["pessimistic", "min"]
BEFORE = "believed before"
"""The part under which a score keeps what the ensemble itself was taken to mean."""


def is_ensemble(scorer: Scorer) -> bool:
    """Whether its scores come from several members, with their mean, deviation and least as parts."""
    if isinstance(scorer, RewardModelScorer):
        return scorer.model.head.heads > 1
    return isinstance(scorer, EnsembleScorer)


class ConservativeScorer:
    def __init__(self, scorer: Scorer, *, doubt: Doubt, pessimism: float) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._doubt: Doubt = doubt
        self._pessimism = pessimism

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [self._believed(score) for score in self._scorer.score(items)]

    def _believed(self, score: Score) -> Score:
        parts = score.parts
        if not {"mean", "std", "min"} <= parts.keys():
            raise UsageError(
                f"a conservative score is made from an ensemble's mean, std and min, and {self.name!r} gave the parts "
                f"{sorted(parts)}; expected an ensemble of reward models (scorer.path with several, or one with several heads)"
            )
        value = parts["min"] if self._doubt == "min" else parts["mean"] - self._pessimism * parts["std"]
        return Score(value, {**parts, BEFORE: score.value}, score.note, score.spans)
