"""Best of n without training: what choosing among a model's answers by one scorer would give, by that scorer and by the others,
against the KL that the choice costs at most. A trained model and best-of-n stand on the same axes: score against KL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.evaluate.answers import ModelAnswers
from steersman.evaluate.figures import Dice
from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import Interval, best_of_n_estimate, best_of_n_kl


@dataclass(frozen=True, slots=True)
class BestOf:
    """The answer that `proxy` likes best of n, as `gold` scores it: estimated without bias from all answers to each prompt."""

    model: str
    n: int
    proxy: str
    gold: str
    score: Interval
    kl_at_most: float
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def best_of(models: Sequence[ModelAnswers], scorers: Sequence[str], dice: Dice) -> list[BestOf]:
    """For 1, 2, 4, … up to all answers; the first scorer chooses."""
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
                found.append(BestOf(model.name, n, proxy, gold, dice.mean(values), best_of_n_kl(n), len(values)))
    return found
