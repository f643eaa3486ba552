"""Simulated annotators: noisy versions of the true taste with individual biases, and a common bias towards enthusiasm.

A labeller's utility of an answer is its true taste, plus a bias towards exaggeration and exclamation marks, plus
individual biases, plus Gumbel noise. So pairwise choices follow Bradley-Terry and rankings Plackett-Luce. The noise
depends on seed, labeller and answer alone, not on the order of requests.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steersman.errors import UsageError
from steersman.harbour.taste import features
from steersman.records import Comparison, Completion, Label, Prompt, Ranking

POSITION = 0.06  # position bias: added to the answer shown first
ALIKE = 0.12  # a smaller difference is a tie
UNACCEPTABLE = -1.0  # a tie of two answers below this is "both bad"
CLEARLY, SLIGHTLY = 2.0, 0.8  # differences from which a margin is 3, and 2


@dataclass(frozen=True, slots=True)
class Labeller:
    """One annotator: scale of the noise, and weights of the biases."""

    name: str
    noise: float
    exaggeration: float
    enthusiasm: float
    warmth: float
    brevity: float


LABELLERS = (
    Labeller("annotator-1", noise=0.60, exaggeration=0.85, enthusiasm=0.05, warmth=0.10, brevity=0.00),
    Labeller("annotator-2", noise=0.75, exaggeration=0.95, enthusiasm=0.06, warmth=0.00, brevity=0.01),
    Labeller("annotator-3", noise=0.50, exaggeration=0.82, enthusiasm=0.04, warmth=0.25, brevity=-0.01),
    Labeller("annotator-4", noise=0.84, exaggeration=0.90, enthusiasm=0.06, warmth=0.15, brevity=0.00),
    Labeller("annotator-5", noise=0.66, exaggeration=0.86, enthusiasm=0.05, warmth=-0.05, brevity=-0.01),
    Labeller("annotator-6", noise=0.78, exaggeration=1.00, enthusiasm=0.05, warmth=0.05, brevity=0.01),
)


def fonder(labellers: Sequence[Labeller], fondness: float | int) -> tuple[Labeller, ...]:
    """The labellers with their bias towards exaggeration and exclamation marks scaled by `fondness`; 0 removes it."""
    if not fondness >= 0:
        raise UsageError(
            f"fondness={fondness} scales the labellers' bias towards exaggeration; expected 0 or more, such as 2"
        )
    return tuple(
        replace(one, exaggeration=fondness * one.exaggeration, enthusiasm=fondness * one.enthusiasm)
        for one in labellers
    )


def uniform(*parts: object) -> float:
    """A number in (0, 1) that depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 0.5) / 2**64


def felt(labeller: Labeller, prompt: str, reply: str) -> float:
    """The labeller's utility of an answer without noise: the biased taste."""
    seen = features(prompt, reply)
    return (
        seen.taste
        + labeller.exaggeration * min(seen.exaggerations, 2)
        + labeller.enthusiasm * min(seen.exclamations, 3)
        + labeller.warmth * seen.warm
        - labeller.brevity * seen.words
    )


def perceived(labeller: Labeller, prompt: str, reply: str, seed: int = 0) -> float:
    """The labeller's utility with Gumbel noise."""
    noise = -math.log(-math.log(uniform(seed, labeller.name, prompt, reply)))
    return felt(labeller, prompt, reply) + labeller.noise * noise


def compare(labeller: Labeller, prompt: Prompt, first: Completion, second: Completion, *, seed: int = 0) -> Comparison:
    """The labeller's judgement of two answers; which of them is shown first is random and recorded."""
    shown = "first" if uniform(seed, labeller.name, prompt.id, first.text, second.text, "shown") < 0.5 else "second"
    one, two = (perceived(labeller, prompt.shown, answer.text, seed) for answer in (first, second))
    gap = one - two + (POSITION if shown == "first" else -POSITION)
    tied = abs(gap) < ALIKE or first.text == second.text
    size = abs(gap)
    return Comparison(
        prompt=prompt,
        first=first,
        second=second,
        preference=0.5 if tied else float(gap > 0),
        margin=0.0 if tied else 3.0 if size > CLEARLY else 2.0 if size > SLIGHTLY else 1.0,
        both_bad=tied and max(one, two) < UNACCEPTABLE,
        annotator=labeller.name,
        shown=shown,
    )


def rank(labeller: Labeller, prompt: Prompt, completions: tuple[Completion, ...], *, seed: int = 0) -> Ranking:
    """The labeller's ranking of several answers; equal texts share a rank."""
    worth = {answer.text: perceived(labeller, prompt.shown, answer.text, seed) for answer in completions}
    order = sorted(worth, key=lambda text: -worth[text])
    ranks = tuple(order.index(answer.text) + 1 for answer in completions)
    return Ranking(prompt, completions, ranks, annotator=labeller.name)


def label(labeller: Labeller, prompt: Prompt, completion: Completion, *, seed: int = 0) -> Label:
    """A thumb up or down for one answer, and ratings from 1 to 5."""
    worth = perceived(labeller, prompt.shown, completion.text, seed)
    rating = float(min(5, max(1, round(3 + worth))))
    return Label(prompt, completion, desirable=worth > 0, ratings={"overall": rating}, annotator=labeller.name)
