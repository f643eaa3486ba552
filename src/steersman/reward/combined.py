"""The weighted sum of several scorers, each optionally normalised and clipped first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from steersman.errors import UsageError
from steersman.reward.offloaded import models_of
from steersman.reward.scorer import Item, Score, Scorer, SpanReward, ahead_of
from steersman.reward.shaping import clip, combine, normalise


@dataclass(frozen=True, slots=True)
class WeightedScorer:
    """One scorer in a sum.

    Its scores are normalised by `scale` (mean, standard deviation), then clipped to `bounds`.
    """

    scorer: Scorer
    weight: float
    scale: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None

    def shaped(self, values: Float[ndarray, " items"]) -> Float[ndarray, " items"]:
        if self.scale is not None:
            values = normalise(values, mean=self.scale[0], std=self.scale[1])
        return values if self.bounds is None else clip(values, *self.bounds)


class CombinedScorer:
    """The weighted sum of scorers. A score's parts are each scorer's raw value and that value's parts (as name/part).

    Its spans are those of the scorers, weighted.
    """

    def __init__(self, parts: Mapping[str, WeightedScorer], *, name: str = "combined") -> None:
        if not parts:
            raise UsageError("a combined scorer needs at least one part; seen none")
        self.name = name
        self._parts = dict(parts)

    def score(self, items: Sequence[Item]) -> list[Score]:
        given = {name: part.scorer.score(items) for name, part in self._parts.items()}
        raw = {name: np.array([score.value for score in scores], dtype=np.float64) for name, scores in given.items()}
        shaped = {name: part.shaped(raw[name]) for name, part in self._parts.items()}
        totals = combine(shaped, {name: part.weight for name, part in self._parts.items()})
        return [
            Score(
                float(totals[i]),
                {name: value for part, scores in given.items() for name, value in _parts(part, scores[i]).items()},
                "; ".join(dict.fromkeys(scores[i].note for scores in given.values() if scores[i].note)),
                tuple(
                    SpanReward(span.start, span.end, self._parts[name].weight * span.reward)
                    for name, scores in given.items()
                    for span in scores[i].spans
                ),
            )
            for i in range(len(items))
        ]

    def ahead(self) -> Callable[[Sequence[Item]], None] | None:
        calls = [call for part in self._parts.values() if (call := ahead_of(part.scorer)) is not None]

        def call_each(items: Sequence[Item]) -> None:
            for call in calls:
                call(items)

        return call_each if calls else None

    def models(self) -> list[nn.Module]:
        return models_of(*(part.scorer for part in self._parts.values()))


def _parts(name: str, score: Score) -> dict[str, float]:
    return {name: score.value, **{f"{name}/{part}": value for part, value in score.parts.items()}}
