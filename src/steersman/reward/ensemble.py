"""Several reward models that answer one question, and what to aggregate when they disagree.

Where members disagree, a policy is far from what they learned, and the mean is easily fooled. Pessimism takes the
minimum (worst case) or the mean less so many standard deviations (Coste et al. 2023, arXiv 2310.02743, use variances).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from steersman.errors import UsageError
from steersman.reward.offloaded import models_of
from steersman.reward.scorer import Item, Score, Scorer

Belief = Literal["mean", "min", "pessimistic"]


class EnsembleScorer:
    """An ensemble of scorers on the same scale. A score's parts: each member's score, and mean, std, min over them.

    `pessimism` is the number of standard deviations subtracted from the mean under "pessimistic".
    """

    def __init__(
        self, members: Sequence[Scorer], *, belief: Belief, pessimism: float = 0.0, name: str = "ensemble"
    ) -> None:
        if len(members) < 2:
            raise UsageError(f"an ensemble needs two or more members; seen {len(members)}. Use the scorer by itself")
        if pessimism < 0:
            raise UsageError(f"pessimism is a number of standard deviations, 0 or more; seen {pessimism}")
        self.name = name
        self.members = list(members)
        self._belief: Belief = belief
        self._pessimism = pessimism

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = [member.score(items) for member in self.members]
        values = np.array([[score.value for score in scores] for scores in given], dtype=np.float64)
        value, mean, std, low = aggregate(values, self._belief, pessimism=self._pessimism)
        scores: list[Score] = []
        for i in range(len(items)):
            parts = {f"member {m + 1}": float(values[m, i]) for m in range(len(values))}
            parts |= {"mean": float(mean[i]), "std": float(std[i]), "min": float(low[i])}
            note = "; ".join(dict.fromkeys(own[i].note for own in given if own[i].note))
            scores.append(Score(float(value[i]), parts, note))
        return scores

    def models(self) -> list[nn.Module]:
        return models_of(*self.members)


def aggregate(
    values: Float[ndarray, "members items"], belief: Belief, *, pessimism: float
) -> tuple[Float[ndarray, " items"], Float[ndarray, " items"], Float[ndarray, " items"], Float[ndarray, " items"]]:
    """Per item: the score to use, the mean, the standard deviation (divided by members - 1) and the minimum."""
    mean, std, low = values.mean(0), values.std(0, ddof=1), values.min(0)
    value = {"mean": mean, "min": low, "pessimistic": mean - pessimism * std}[belief]
    return value, mean, std, low
