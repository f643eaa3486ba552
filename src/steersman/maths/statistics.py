"""Statistics without torch: confidence intervals, inter-annotator agreement, calibration, ratings, best-of-n.

The agreement functions take, for each unit, the labels it was given. A unit may have any number of labels. Which
annotator gave which label matters for Cohen's kappa only.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from importlib import import_module
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = Sequence[float | int | np.generic] | NDArray[Any]
Units: TypeAlias = Sequence[Sequence[Hashable]]


class Interval(NamedTuple):
    """An estimate and the confidence interval around it."""

    estimate: float
    low: float
    high: float


def wilson_interval(successes: float, trials: float, *, confidence: float) -> Interval:
    """Wilson's score interval of a proportion (1927). Half successes (ties) and effective sample sizes are fine."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(
            f"{successes} successes in {trials} trials; expected at least one trial and at most as many successes."
        )
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At a share of 0 or 1 the bound is the share itself; rounding must not push it past.
    return Interval(share, min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share))


def paired_shares_interval(differences: Numbers, effective: float, *, confidence: float) -> Interval:
    """The difference of two shares that were measured on the same items: `differences` is -1, 0 or 1 for each (or a
    half), and `effective` the number of independent items.

    Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions": half an item is
    added to each of the four cells, so that few items never give an interval of no width.
    """
    values = _floats(differences)
    if not 0 < effective <= len(values) * (1 + 1e-9):
        raise ValueError(f"{effective} independent items among {len(values)}; expected some, and not more than all.")
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    mean, square = float(values.mean()), float(np.square(values).mean())
    size = effective + 2
    centre = effective * mean / size
    half = z * math.sqrt(effective * square + 1 - (effective * mean) ** 2 / size) / size
    return Interval(mean, min(max(centre - half, -1.0), mean), max(min(centre + half, 1.0), mean))


def bootstrap_interval(
    values: Numbers,
    *,
    confidence: float,
    resamples: int,
    generator: np.random.Generator,
    statistic: Callable[[FloatArray], float] | None = None,
) -> Interval:
    """Percentile bootstrap (Efron 1979) of the mean, or of any `statistic`, over the rows of `values`.

    Rows must be independent: one row per prompt, not one per sample of a prompt.
    """
    sample = _floats(values)
    if len(sample) < 2:
        raise ValueError(f"{len(sample)} value(s) cannot be resampled; a bootstrap needs at least 2.")
    drawn: list[FloatArray] = []
    rows_at_once = max(1, 2**22 // sample.size)
    for start in range(0, resamples, rows_at_once):
        index = generator.integers(len(sample), size=(min(rows_at_once, resamples - start), len(sample)))
        if statistic is None:
            drawn.append(sample[index].mean(axis=1))
        else:
            drawn.append(np.array([statistic(sample[rows]) for rows in index]))
    tail = (1 - _checked(confidence)) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(sample.mean() if statistic is None else statistic(sample)), float(low), float(high))


def paired_bootstrap_interval(
    first: Numbers, second: Numbers, *, confidence: float, resamples: int, generator: np.random.Generator
) -> Interval:
    """Bootstrap of mean(first) - mean(second) where both were measured on the same items, e.g. prompts."""
    one, other = _same_length(first, second)
    return bootstrap_interval(one - other, confidence=confidence, resamples=resamples, generator=generator)


def pairwise_agreement(units: Units, *, confidence: float) -> Interval:
    """How often two labels of the same unit are equal, over all pairs of labels, with a Wilson interval.

    Pairs within a unit are not independent, so a unit counts as one observation whatever its number of labels (Kish's
    effective sample size, with units weighted by their pairs): exact for two labels per unit, conservative for more.
    """
    counts, _ = label_counts(units, ordered=False)
    of_two = counts * (counts - 1) / 2
    per_unit = counts.sum(axis=1)
    pairs = per_unit * (per_unit - 1) / 2
    if pairs.sum() == 0:
        raise ValueError("no unit has two labels, so agreement is undefined. Have some units labelled twice.")
    effective = float(pairs.sum() ** 2 / np.square(pairs).sum())
    agreement = float(of_two.sum() / pairs.sum())
    return wilson_interval(agreement * effective, effective, confidence=confidence)


class ReliabilityBin(NamedTuple):
    """Predictions between `low` and `high`: their mean probability, the mean outcome, and their number."""

    low: float
    high: float
    probability: float
    outcome: float
    size: int


def reliability_curve(probabilities: Numbers, outcomes: Numbers, *, bins: int) -> list[ReliabilityBin]:
    """Predicted probability against observed frequency, in bins of equal width; empty bins are left out."""
    predicted, observed = _same_length(probabilities, outcomes)
    if len(predicted) == 0 or predicted.min() < 0 or predicted.max() > 1:
        raise ValueError("a reliability curve needs predicted probabilities, all of them from 0 to 1.")
    place = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    curve: list[ReliabilityBin] = []
    for i in range(bins):
        here = place == i
        if here.any():
            probability, outcome = float(predicted[here].mean()), float(observed[here].mean())
            curve.append(ReliabilityBin(i / bins, (i + 1) / bins, probability, outcome, int(here.sum())))
    return curve


def expected_calibration_error(probabilities: Numbers, outcomes: Numbers, *, bins: int) -> float:
    """Mean absolute gap between predicted and observed over the bins, weighted by bin size (Guo et al. 2017)."""
    curve = reliability_curve(probabilities, outcomes, bins=bins)
    return sum(b.size * abs(b.probability - b.outcome) for b in curve) / sum(b.size for b in curve)


def fit_temperature(logits: Numbers, targets: Numbers) -> float:
    """The temperature T that maximises the likelihood of sigmoid(logit / T) (Guo et al. 2017), from 1/1000 to 1000.

    The loss is convex in 1 / T, so its slope changes sign once and bisection finds where. The upper limit means that
    the logits carry no information (or the wrong sign), the lower that they separate the targets perfectly.
    """
    gaps, labels = _same_length(logits, targets)
    if len(gaps) == 0:
        raise ValueError("no logits to fit a temperature to; give at least one held-out prediction.")

    def slope(sharpness: float) -> float:
        predicted = 0.5 * (1 + np.tanh(0.5 * sharpness * gaps))
        return float(np.mean(gaps * (predicted - labels)))

    low, high = math.log(1e-3), math.log(1e3)
    if slope(math.exp(low)) >= 0:
        return 1e3
    if slope(math.exp(high)) <= 0:
        return 1e-3
    for _ in range(100):
        middle = (low + high) / 2
        if slope(math.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def pearson(first: Numbers, second: Numbers) -> float:
    """Pearson's correlation; NaN if either side is constant."""
    return _correlation("pearsonr", first, second)


def spearman(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation; NaN if either side is constant."""
    return _correlation("spearmanr", first, second)


def _correlation(function: str, first: Numbers, second: Numbers) -> float:
    one, other = _same_length(first, second)
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    stats: Any = import_module("scipy.stats")
    return float(getattr(stats, function)(one, other).statistic)


def bradley_terry_ratings(wins: NDArray[Any], *, prior: float) -> FloatArray:
    """Bradley-Terry ratings (log-strengths with mean 0) of players: P(i beats j) = sigmoid(rating i - rating j).

    wins[i, j] is how often i beat j; a tie is half a win for both. `prior` ties are added to every pair, which keeps
    the rating of an undefeated player finite; 0 gives maximum likelihood. Fitted by the MM algorithm of Hunter 2004.
    """
    players = len(wins)
    if wins.shape != (players, players) or players < 2 or (wins < 0).any():
        raise ValueError(f"wins has shape {wins.shape}; it must be a square table of counts for at least 2 players.")
    table = wins.astype(np.float64) + prior / 2
    np.fill_diagonal(table, 0)
    reaches = (table > 0) | np.eye(players, dtype=np.bool_)
    for _ in range(players.bit_length()):
        reaches = reaches @ reaches
    if not reaches.all():
        raise ValueError(
            "some players never won or tied against another group of players, so their rating difference is unbounded. "
            "Give a prior above 0, or more games between them."
        )
    games, won = table + table.T, table.sum(axis=1)
    strength = np.ones(players)
    for _ in range(100_000):
        updated = won / (games / (strength[:, None] + strength[None, :])).sum(axis=1)
        updated /= np.exp(np.log(updated).mean())
        change = np.abs(np.log(updated / strength)).max()
        strength = updated
        if change < 1e-12:
            break
    return np.log(strength)


def best_of_n_estimate(proxy_scores: Numbers, gold_scores: Numbers, n: int) -> float:
    """Unbiased estimate of the gold score of best-of-n by proxy score, from N >= n samples of one prompt.

    The i-th worst of N by proxy is the best of a random n with probability C(i-1, n-1) / C(N, n). Samples with equal
    proxy scores get the mean of their gold scores, as if ties were broken at random.
    """
    proxy, gold = _same_length(proxy_scores, gold_scores)
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} from {total} samples; n must be from 1 to the number of samples.")
    _, group = np.unique(proxy, return_inverse=True)
    shared = (np.bincount(group, weights=gold) / np.bincount(group))[group]
    ascending = shared[np.argsort(proxy, kind="stable")]
    # C(i-1, n-1) / C(N, n) from the best downwards: n / N, then times (i-n) / (i-1), which avoids huge numbers.
    estimate, weight = 0.0, n / total
    for i in range(total, n - 1, -1):
        estimate += weight * float(ascending[i - 1])
        if i > 1:
            weight *= (i - n) / (i - 1)
    return estimate


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the sampled policy: log n - (n - 1) / n, exact if no two scores are equal, else a bound."""
    if n < 1:
        raise ValueError(f"best of {n}; expected at least one sample.")
    return math.log(n) - (n - 1) / n


def _floats(values: Numbers) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _same_length(first: Numbers, second: Numbers) -> tuple[FloatArray, FloatArray]:
    one, other = _floats(first), _floats(second)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"shapes {one.shape} and {other.shape}; give two flat lists of the same length.")
    return one, other


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; expected a share between 0 and 1, such as 0.95.")
    return confidence


def label_counts(units: Units, *, ordered: bool) -> tuple[NDArray[np.int64], list[Any]]:
    """Counts [unit, label], and the labels in the order of the columns."""
    seen: dict[Any, None] = dict.fromkeys(label for unit in units for label in unit)
    labels = sorted(seen) if ordered else list(seen)
    counts = np.zeros((len(units), len(labels)), dtype=np.int64)
    for i, unit in enumerate(units):
        tally = Counter(unit)
        counts[i] = [tally[label] for label in labels]
    return counts, labels
