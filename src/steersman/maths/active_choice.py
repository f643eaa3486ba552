"""Which pairs to ask people about: by the disagreement of an ensemble of reward models, or by expected information.

Disagreement is the standard deviation of the members' probabilities that the first answer is better (query by
committee; Seung et al. 1992). Information is the mutual information of the label and the member (BALD, Houlsby et al.
2011, arXiv 1112.5745): the entropy of the mean probability less the mean entropy. Pairs that all members call a toss-up
have little of either: a label would not tell which member is right.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def probabilities(margins: Float[ndarray, "members pairs"]) -> Float[ndarray, "members pairs"]:
    """Each member's probability that the first answer is better, from its score less that of the second (logits)."""
    return 1.0 / (1.0 + np.exp(-np.clip(margins, -50.0, 50.0)))


def disagreement(probability: Float[ndarray, "members pairs"]) -> Float[ndarray, " pairs"]:
    return probability.std(axis=0)


def information(probability: Float[ndarray, "members pairs"]) -> Float[ndarray, " pairs"]:
    """In bits, from 0 to 1. Rounding never makes it negative."""
    return np.maximum(0.0, _entropy(probability.mean(axis=0)) - _entropy(probability).mean(axis=0))


def _entropy(probability: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def random_part(count: int, size: int, generator: np.random.Generator) -> list[int]:
    """So many of `count` pairs, each as likely as any other: what is kept to measure with."""
    return sorted(int(one) for one in generator.permutation(count)[:size])


def best_pairs(
    values: Float[ndarray, " pairs"],
    prompts: Sequence[str],
    size: int,
    *,
    most_per_prompt: int,
    without: Sequence[int] = (),
) -> list[int]:
    """The pairs of the largest values, at most so many of each prompt: pairs of one prompt tell much the same."""
    taken: dict[str, int] = {}
    left_out, chosen = set(without), list[int]()
    for place in (int(one) for one in np.argsort(-values, kind="stable")):
        if len(chosen) == size:
            break
        if place not in left_out and taken.get(prompts[place], 0) < most_per_prompt:
            taken[prompts[place]] = taken.get(prompts[place], 0) + 1
            chosen.append(place)
    return chosen


def spread(chosen: Sequence[int], among: Sequence[int]) -> list[int]:
    """`chosen` in their order, with `among` spread evenly between them: whoever stops early has asked some of both."""
    total = len(chosen) + len(among)
    places = {int((i + 0.5) * total / len(among)) for i in range(len(among))} if among else set[int]()
    ours, others = iter(chosen), iter(among)
    return [next(others) if place in places else next(ours) for place in range(total)]
