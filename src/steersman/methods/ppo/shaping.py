"""From an answer's raw score to the score that it is paid: normalised, clipped, less the penalties.

Penalties come after normalisation, as in the code of the TL;DR reproduction (arXiv 2403.17031): an answer that was cut
off must not keep the score that its beginning earned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.reward.shaping import overlong
from steersman.settings.shaping import ShapingSettings


@dataclass
class RunningScale:
    """Running mean and variance of all scores so far (Welford's algorithm, merging whole batches)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Sequence[float]) -> None:
        if not values:
            return
        count, mean = len(values), sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        total = self.count + count
        self.squares += squares + (mean - self.mean) ** 2 * self.count * count / total
        self.mean += (mean - self.mean) * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count > 1 and self.squares > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What the score of an answer is shaped from."""

    score: float
    cut_off: bool
    tokens: int


def shape(answers: Sequence[Answered], settings: ShapingSettings, scale: RunningScale, *, longest: int) -> list[float]:
    """The scores normalised, clipped, and less the penalties. `longest` is the number of tokens at which answers were
    cut off."""
    running = settings.normalise == "running"
    divisor = scale.deviation if running else 1.0
    shift = scale.mean if running and settings.centre else 0.0
    bound = math.inf if settings.clip is None else settings.clip
    return [
        min(max((one.score - shift) / divisor, -bound), bound) - _penalty(one, settings, longest) for one in answers
    ]


def _penalty(answer: Answered, settings: ShapingSettings, longest: int) -> float:
    penalty = (settings.missing_eos_penalty or 0.0) * answer.cut_off
    if settings.overlong_tokens is not None:
        penalty += settings.overlong_penalty * overlong(answer.tokens, longest=longest, last=settings.overlong_tokens)
    return penalty
