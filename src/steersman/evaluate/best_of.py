"""Best-of-n without training: scores of the best answer by one scorer, and an upper bound of its KL.

A trained model and best-of-n can then be compared on the same axes: score against KL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.evaluate.answers import ModelAnswers
from steersman.evaluate.figures import Intervals
from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import Interval, best_of_n_estimate, best_of_n_kl


@dataclass(frozen=True, slots=True)
class BestOf:
    """Unbiased estimate of the `gold` score of the best of n answers by `proxy`, from all answers to each prompt."""

    model: str
    n: int
    proxy: str
    gold: str
    score: Interval
    kl_at_most: float
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def best_of(models: Sequence[ModelAnswers], scorers: Sequence[str], intervals: Intervals) -> list[BestOf]:
    """Best-of-n for n = 1, 2, 4, … up to all answers; the first scorer is the proxy."""
    if not scorers:
        return []
    proxy, found = scorers[0], list[BestOf]()
    for model in models:
        chosen_by, most = model.scores(proxy), len(model.grid[0])
        sizes = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
        for gold in scorers:
            judged_by = model.scores(gold)
            for n in sizes:
                values = np.array(
                    [best_of_n_estimate(one, other, n) for one, other in zip(chosen_by, judged_by, strict=True)]
                )
                found.append(BestOf(model.name, n, proxy, gold, intervals.mean(values), best_of_n_kl(n), len(values)))
    return found
