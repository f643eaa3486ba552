"""Models against one another: win rates against the baseline, and Bradley-Terry ratings of three or more.

A prompt is one contest: every answer of the one model meets every answer of the other, a tie is half a win, and the mean is the
prompt's result. Scorers look at one answer at a time, so that order cannot matter to them; with people's labels it can, and
is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.evaluate.answers import ModelAnswers
from steersman.evaluate.figures import Dice
from steersman.evaluate.reward_quality import plain
from steersman.maths.statistics import Interval, bradley_terry_ratings
from steersman.records import Comparison

PRIOR = 1.0
"""One tie added to every pair keeps the rating of a model that won all finite."""
RATING_RESAMPLES = 300

Results = Float[ndarray, "prompts models models"]
"""results[p, i, j]: how often model i beat model j on prompt p, from 0 to 1, NaN where they did not meet."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """`rate` has Wilson's interval and `resampled` the bootstrap's; both are over prompts. `by_order` is the rate where the model's
    answer stood first and where it stood second before the judge, with how many judgements each is from."""

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
    """What people said of pairs of models: the results prompt by prompt, and for each ordered pair (model, other) and place the
    results where the model's answer stood there."""

    results: Results
    by_order: Mapping[tuple[int, int], Mapping[str, list[float]]]
    others: int
    """Comparisons whose answers are not of two of these models."""


def results_of_people(comparisons: Sequence[Comparison], names: Mapping[str, int], models: int) -> Judged:
    """`names` are all the names that a model goes by in the file (its name here, its path) with its number."""
    cells: dict[tuple[str, int, int], list[float]] = {}
    orders: dict[tuple[int, int], dict[str, list[float]]] = {}
    others = 0
    for c in comparisons:
        i, j = names.get(c.first.model), names.get(c.second.model)
        if i is None or j is None or i == j:
            others += 1
            continue
        said = float(np.sign(c.preference - 0.5) / 2 + 0.5)
        for one, other, result, place in ((i, j, said, "first"), (j, i, 1 - said, "second")):
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
    dice: Dice,
    by_order: Mapping[tuple[int, int], Mapping[str, list[float]]] | None = None,
) -> list[WinRate]:
    """Of every model against the baseline that met it."""
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
                rate=dice.share(met),
                resampled=dice.mean(met) if len(met) > 1 else None,
                prompts=len(met),
                wins=int((met > 0.5).sum()),
                ties=int((met == 0.5).sum()),
                losses=int((met < 0.5).sum()),
                by_order={place: (float(np.mean(said)), len(said)) for place, said in sorted(places.items())},
            )
        )
    return found


def ratings(results: Results, names: Sequence[str], by: str, dice: Dice) -> list[Rating]:
    """Bradley-Terry ratings of three or more models, with a bootstrap over prompts; nothing for fewer."""
    if len(names) < 3 or len(results) < 2:
        return []
    wins = np.nan_to_num(results, nan=0.0)
    random = dice.generator()
    drawn = np.array(
        [
            bradley_terry_ratings(wins[random.integers(len(wins), size=len(wins))].sum(axis=0), prior=PRIOR)
            for _ in range(min(dice.resamples, RATING_RESAMPLES))
        ]
    )
    tail = (1 - dice.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    estimate = bradley_terry_ratings(wins.sum(axis=0), prior=PRIOR)
    return [
        Rating(name, by, Interval(float(estimate[i]), float(low[i]), float(high[i])), len(results))
        for i, name in enumerate(names)
    ]
