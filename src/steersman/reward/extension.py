"""Scorers that other packages bring (see `extensions`)."""

import inspect
from collections.abc import Sequence
from typing import Any

from steersman.errors import SteersmanError
from steersman.extensions import FOREIGN, failed, load_extension, unfit
from steersman.reward.function import FunctionScorer
from steersman.reward.scorer import Item, Score, Scorer

_GROUP = "steersman.scorers"
_EXPECTED = "a Scorer, a class of one that needs no arguments, or a reward function"


def extension_scorer(name: str) -> Scorer:
    """The scorer of this name. What it brings is a scorer, a class of one, or a reward function (see `function`)."""
    brought: Any = load_extension(name, _GROUP)
    if inspect.isclass(brought):
        try:
            brought = brought()
        except FOREIGN as error:
            raise failed(name, error, _GROUP) from error
    if isinstance(brought, Scorer):
        return _ExtensionScorer(name, brought)
    if not inspect.isroutine(brought):
        raise unfit(name, brought, _EXPECTED, _GROUP)
    return FunctionScorer(brought, name=name)


class _ExtensionScorer:
    """An extension's scorer, whose errors name the package."""

    def __init__(self, extension: str, scorer: Scorer) -> None:
        self.name, self._extension, self._scorer = scorer.name, extension, scorer

    def score(self, items: Sequence[Item]) -> list[Score]:
        try:
            scores = list(self._scorer.score(items))
        except SteersmanError:
            raise
        except FOREIGN as error:
            raise failed(self._extension, error, _GROUP) from error
        if len(scores) != len(items) or not all(isinstance(one, Score) for one in scores):
            raise SteersmanError(
                f"the scorer {self._extension!r} was given {len(items)} answers and returned {len(scores)} values; "
                "expected a list of as many Scores, in the order of the answers"
            )
        return scores
