"""Length control: scores with the linear effect of the answer's length removed.

Much of what PPO gains under a reward model can be length (Singhal et al. 2023, arXiv 2310.03716). Score is regressed on
length once, on reference answers, and the trend is subtracted from every score. On those answers the mean score stays
the same and no longer depends on length. Length is in characters, since a scorer sees text and no tokens.
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
    """The least-squares line of score on length: `slope` per character, through the mean length.

    `explained` is the share of the scores' variance that the line explains (R squared).
    """

    slope: float
    mean_length: float
    explained: float

    def of(self, length: int) -> float:
        """The part of a score due to a length other than the mean."""
        return self.slope * (length - self.mean_length)


def measure_trend(lengths: Sequence[int], scores: Sequence[float]) -> Trend:
    """The regression line of score on length over reference answers."""
    x, y = np.asarray(lengths, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(x) < 2 or np.ptp(x) == 0:
        raise DataError(
            f"{len(x)} reference answers of one length ({int(x[0]) if len(x) else 0} characters) show no trend; "
            "expected answers of different lengths, better hundreds"
        )
    slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1))
    variance = float(y.var(ddof=1))
    return Trend(slope, float(x.mean()), slope**2 * float(x.var(ddof=1)) / variance if variance > 0 else 0.0)


class LengthControlledScorer:
    """Another scorer's scores minus the length trend.

    Parts: the other's, its score as `before`, and `owed to length`.
    """

    def __init__(self, scorer: Scorer, trend: Trend) -> None:
        self.name = scorer.name
        self.trend = trend
        self._scorer = scorer

    def score(self, items: Sequence[Item]) -> list[Score]:
        scores: list[Score] = []
        for (_, answer), score in zip(items, self._scorer.score(items), strict=True):
            from_length = self.trend.of(len(answer))
            parts = {**score.parts, "before": score.value, "owed to length": from_length}
            scores.append(Score(score.value - from_length, parts, score.note, score.spans))
        return scores

    def ahead(self) -> Callable[[Sequence[Item]], None] | None:
        return ahead_of(self._scorer)

    def models(self) -> list[nn.Module]:
        return models_of(self._scorer)
