"""A score without what follows from an answer's length alone.

Much of what PPO gains by a reward model can be length (Singhal et al. 2023, arXiv 2310.03716). The line of score on length is fitted
once on ordinary answers, and its slope is taken off every score: on those answers the mean stays what it was, and the score no
longer rises or falls with length. Characters, for a scorer reads text and has no tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from steersman.errors import DataError
from steersman.reward.offloaded import models_of
from steersman.reward.scorer import Item, Score, Scorer, ahead_of


@dataclass(frozen=True, slots=True)
class Trend:
    """The least-squares line of score on length: `slope` a character, through the mean length. `explained` is the share of the
    scores' variance that the line explains (R squared)."""

    slope: float
    mean_length: float
    explained: float

    def of(self, length: int) -> float:
        """What of a score is owed to a length other than the mean."""
        return self.slope * (length - self.mean_length)


def measure_trend(lengths: Sequence[int], scores: Sequence[float]) -> Trend:
    """The line through the scores of ordinary answers."""
    across, up = np.asarray(lengths, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(across) < 2 or np.ptp(across) == 0:
        raise DataError(
            f"{len(across)} reference answers of one length ({int(across[0]) if len(across) else 0} characters) show no trend; expected answers of "
            "different lengths, better hundreds"
        )
    slope = float(np.cov(across, up)[0, 1] / across.var(ddof=1))
    whole = float(up.var(ddof=1))
    return Trend(slope, float(across.mean()), slope**2 * float(across.var(ddof=1)) / whole if whole > 0 else 0.0)


class LengthControlledScorer:
    """Another scorer's scores less the trend. A score's parts: the other's own, its score as `before`, and `owed to length`."""

    def __init__(self, scorer: Scorer, trend: Trend) -> None:
        self.name = scorer.name
        self.trend = trend
        self._scorer = scorer

    def score(self, items: Sequence[Item]) -> list[Score]:
        found: list[Score] = []
        for (_, answer), score in zip(items, self._scorer.score(items), strict=True):
            owed = self.trend.of(len(answer))
            parts = {**score.parts, "before": score.value, "owed to length": owed}
            found.append(Score(score.value - owed, parts, score.note, score.spans))
        return found

    def ahead(self) -> Callable[[Sequence[Item]], None] | None:
        return ahead_of(self._scorer)

    def models(self) -> list[nn.Module]:
        return models_of(self._scorer)
