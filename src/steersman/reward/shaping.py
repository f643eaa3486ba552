"""Reward shaping: clipping, normalisation, bounding, weighted sums, span rewards per token. Pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.reward.scorer import SpanReward


def clip(values: Float[ndarray, " items"], low: float, high: float) -> Float[ndarray, " items"]:
    """Each value clipped to [low, high]."""
    if not low < high:
        raise DataError(f"values are clipped between a lower and a higher bound; seen {low} and {high}")
    return np.clip(values, low, high)


def normalise(values: Float[ndarray, " items"], *, mean: float, std: float) -> Float[ndarray, " items"]:
    """(values - mean) / std, with the mean and standard deviation of reference answers."""
    if not std > 0 or not np.isfinite(mean):
        raise DataError(
            f"values are normalised by a finite mean and a standard deviation above 0; seen {mean} and {std}. "
            "A scorer that gives every answer the same score cannot be normalised"
        )
    return (values - mean) / std


def centred_sigmoid(
    values: Float[ndarray, " items"], references: Float[ndarray, "items references"]
) -> Float[ndarray, " items"]:
    """Preference as reward (PAR, arXiv 2502.18770): mean over reference answers of sigmoid(score - reference's score).

    Bounded by 0 and 1, steep where an answer is similar to the references and flat where its score is far higher, which
    is where reward models are wrong.
    """
    if references.shape[1] == 0:
        raise DataError("each item needs the score of at least one reference answer to its prompt; seen none")
    # sigmoid(x) = 0.5 + 0.5 tanh(x / 2), without overflow.
    return (0.5 + 0.5 * np.tanh((values[:, None] - references) / 2)).mean(1)


def combine(parts: Mapping[str, Float[ndarray, " items"]], weights: Mapping[str, float]) -> Float[ndarray, " items"]:
    """The weighted sum of the parts."""
    if not parts or set(parts) != set(weights):
        raise DataError(
            f"a weighted sum needs one weight for each part; seen parts {sorted(parts)} and weights {sorted(weights)}"
        )
    return np.sum([weights[name] * values for name, values in parts.items()], axis=0)


def overlong(tokens: int, *, longest: int, last: int) -> float:
    """The share of the length penalty, from 0 to 1: DAPO's soft overlong punishment (arXiv 2503.14476, equation 13).

    0 up to `longest - last` tokens, then linear up to 1 at `longest` tokens.
    """
    return min(max((tokens - (longest - last)) / last, 0.0), 1.0)


def spread_over_tokens(spans: Sequence[SpanReward], offsets: Sequence[tuple[int, int]]) -> list[float]:
    """The span reward of each token of an answer: a span's reward goes to the last token that overlaps it.

    `offsets` are each token's (start, end) characters as tokenisers return them, end exclusive. A token without
    characters (EOS) gets 0.
    """
    rewards = [0.0] * len(offsets)
    for span in spans:
        within = [i for i, (start, end) in enumerate(offsets) if start < end and start < span.end and end > span.start]
        if not within:
            where = offsets[-1][1] if offsets else 0
            raise DataError(
                f"a span reward is on the characters {span.start} to {span.end}, where the answer has no token "
                f"(its tokens end at character {where}); expected spans within the answer's text"
            )
        rewards[within[-1]] += span.reward
    return rewards
