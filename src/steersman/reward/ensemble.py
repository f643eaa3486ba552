"""Several reward models that answer one question, and what to believe when they disagree.

Where members disagree, a policy is far from what they learned, and the mean is easily fooled. Pessimism takes the minimum
(worst case) or the mean less so many standard deviations (Coste et al. 2023, arXiv 2310.02743, use variances).
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
    """Members whose scores are on one scale. A score's parts: each member's own, and mean, std, min over them.

    `pessimism` is how many standard deviations are taken off the mean under "pessimistic".
    """

    def __init__(
        self, members: Sequence[Scorer], *, belief: Belief, pessimism: float = 0.0, name: str = "ensemble"
    ) -> None:
        if len(members) < 2:
            raise UsageError(f"an ensemble has two or more members; seen {len(members)}. One scorer needs no ensemble")
        if pessimism < 0:
            raise UsageError(f"pessimism is how many standard deviations are taken off, 0 or more; seen {pessimism}")
        self.name = name
        self.members = list(members)
        self._belief: Belief = belief
        self._pessimism = pessimism

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = [member.score(items) for member in self.members]
        values = np.array([[score.value for score in scores] for scores in given], dtype=np.float64)
        believed, mean, std, low = believe(values, self._belief, pessimism=self._pessimism)
        scores: list[Score] = []
        for i in range(len(items)):
            parts = {f"member {m + 1}": float(values[m, i]) for m in range(len(values))}
            parts |= {"mean": float(mean[i]), "std": float(std[i]), "min": float(low[i])}
            note = "; ".join(dict.fromkeys(own[i].note for own in given if own[i].note))
            scores.append(Score(float(believed[i]), parts, note))
        return scores

    def models(self) -> list[nn.Module]:
        return models_of(*self.members)


def believe(
    values: Float[ndarray, "members items"], belief: Belief, *, pessimism: float
) -> tuple[Float[ndarray, " items"], Float[ndarray, " items"], Float[ndarray, " items"], Float[ndarray, " items"]]:
    """The score to use for each item, and mean, standard deviation (over members - 1, as they are a sample) and minimum."""
    mean, std, low = values.mean(0), values.std(0, ddof=1), values.min(0)
    believed = {"mean": mean, "min": low, "pessimistic": mean - pessimism * std}[belief]
    return believed, mean, std, low
