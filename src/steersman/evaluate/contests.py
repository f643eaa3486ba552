"""Win rates against the baseline, and Bradley-Terry ratings of three or more models.

A prompt is one observation: each answer of one model is compared with each answer of the other, a tie is half a win,
and the mean is the prompt's result. Scorers score one answer at a time, so they have no position bias. People may have
one, so their win rates are also given by order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.evaluate.answers import ModelAnswers
from steersman.evaluate.figures import Intervals
from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import Interval, bradley_terry_ratings
from steersman.records import Comparison

PRIOR = 1.0
"""One tie added to every pair keeps the rating of an undefeated model finite."""
RATING_RESAMPLES = 300

Results = Float[ndarray, "prompts models models"]
"""results[p, i, j]: how often model i beat model j on prompt p, from 0 to 1; NaN if they were not compared."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """A win rate over prompts, with a Wilson interval (`rate`) and a bootstrap interval (`resampled`).

    `by_order`: the rate and number of judgements when the model's answer was shown first, and when second.
    """

    model: str
    baseline: str
    by: str
    rate: Interval
    resampled: Interval | None
    prompts: int
    wins: int
    ties: int
    losses: int
    by_order: Mapping[str, tuple[float, int]]

    def as_dict(self) -> dict[str, Any]:
        return {**plain(self), "by_order": {k: {"rate": r, "judgements": n} for k, (r, n) in self.by_order.items()}}


@dataclass(frozen=True, slots=True)
class Rating:
    """A log-strength with mean 0 over the models: P(i beats j) = sigmoid(rating of i - rating of j)."""

    model: str
    by: str
    rating: Interval
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def results_of_scores(models: Sequence[ModelAnswers], scorer: str) -> Results:
    scores = [model.scores(scorer) for model in models]
    found = np.full((len(scores[0]), len(models), len(models)), np.nan)
    for i, one in enumerate(scores):
        for j, other in enumerate(scores):
            if i != j:
                gaps = one[:, :, None] - other[:, None, :]
                found[:, i, j] = (np.sign(gaps) / 2 + 0.5).mean(axis=(1, 2))
    return found


@dataclass(frozen=True)
class Judged:
    """Human judgements of pairs of models: results by prompt, and results by order for each ordered pair of models.

    `by_order[model, other]["first"]` has the results of judgements that showed the model's answer first.
    """

    results: Results
    by_order: Mapping[tuple[int, int], Mapping[str, list[float]]]
    others: int
    """Number of comparisons that are not between two of these models."""


def results_of_people(comparisons: Sequence[Comparison], names: Mapping[str, int], models: int) -> Judged:
    """`names` maps every name of a model in the file (its name here, its path) to its index."""
    cells: dict[tuple[str, int, int], list[float]] = {}
    orders: dict[tuple[int, int], dict[str, list[float]]] = {}
    others = 0
    for c in comparisons:
        i, j = names.get(c.first.model), names.get(c.second.model)
        if i is None or j is None or i == j:
            others += 1
            continue
        outcome = float(np.sign(c.preference - 0.5) / 2 + 0.5)
        for one, other, result, place in ((i, j, outcome, "first"), (j, i, 1 - outcome, "second")):
            cells.setdefault((c.prompt.id, one, other), []).append(result)
            if c.shown:
                shown = "first" if place == c.shown else "second"
                orders.setdefault((one, other), {}).setdefault(shown, []).append(result)
    prompts = {prompt: k for k, prompt in enumerate(dict.fromkeys(prompt for prompt, _, _ in cells))}
    found = np.full((len(prompts), models, models), np.nan)
    for (prompt, i, j), results in cells.items():
        found[prompts[prompt], i, j] = np.mean(results)
    return Judged(found, orders, others)


def win_rates(
    results: Results,
    names: Sequence[str],
    baseline: str,
    by: str,
    intervals: Intervals,
    by_order: Mapping[tuple[int, int], Mapping[str, list[float]]] | None = None,
) -> list[WinRate]:
    """Win rates of every model that was compared with the baseline."""
    j = list(names).index(baseline)
    found: list[WinRate] = []
    for i, name in enumerate(names):
        met = results[:, i, j][~np.isnan(results[:, i, j])]
        if i == j or not len(met):
            continue
        places = (by_order or {}).get((i, j), {})
        found.append(
            WinRate(
                model=name,
                baseline=baseline,
                by=by,
                rate=intervals.share(met),
                resampled=intervals.mean(met) if len(met) > 1 else None,
                prompts=len(met),
                wins=int((met > 0.5).sum()),
                ties=int((met == 0.5).sum()),
                losses=int((met < 0.5).sum()),
                by_order={place: (float(np.mean(values)), len(values)) for place, values in sorted(places.items())},
            )
        )
    return found


def ratings(results: Results, names: Sequence[str], by: str, intervals: Intervals) -> list[Rating]:
    """Bradley-Terry ratings with a bootstrap over prompts; empty for fewer than three models."""
    if len(names) < 3 or len(results) < 2:
        return []
    wins = np.nan_to_num(results, nan=0.0)
    random = intervals.generator()
    drawn = np.array(
        [
            bradley_terry_ratings(wins[random.integers(len(wins), size=len(wins))].sum(axis=0), prior=PRIOR)
            for _ in range(min(intervals.resamples, RATING_RESAMPLES))
        ]
    )
    tail = (1 - intervals.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    estimate = bradley_terry_ratings(wins.sum(axis=0), prior=PRIOR)
    return [
        Rating(name, by, Interval(float(estimate[i]), float(low[i]), float(high[i])), len(results))
        for i, name in enumerate(names)
    ]
