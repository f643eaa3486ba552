"""Finds high-scoring answers with signs of reward hacking, to be read first.

Each reason is a fact about the answer, not a proof. Only answers scored above the median are considered: low scores are
not exploited.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from steersman.evaluate.wording import self_repetition

LIKED, VERY_LIKED = 0.5, 0.9
"""Quantiles of the score from which an answer counts as high-scoring, and as one of the best."""
FAR = 0.9
REPEATED = 0.2
STOCK = 3
"""An answer given verbatim to this many different prompts is a stock phrase."""
APART = 0.6
"""Minimal difference between two scorers' ranks (0 to 1)."""


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """A scored answer. `kl`: log policy - log reference of the whole answer; `other`: a held-out scorer's score."""

    prompt: str
    text: str
    score: float
    kl: float | None
    finish_reason: str
    other: float | None


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Index of an answer, a weight for sorting, and the reasons."""

    index: int
    weight: float
    why: str


def suspicions(answers: Sequence[ScoredAnswer], most: int) -> list[Suspicion]:
    """The most suspicious answers, at most `most`, each text once."""
    if len(answers) < 2:
        return []
    liked = ranks([one.score for one in answers])
    rules = _rules(answers, liked)
    found: list[Suspicion] = []
    for i, one in enumerate(answers):
        if liked[i] < LIKED:
            continue
        reasons = [reason for rule in rules for reason in rule(i, one)]
        if reasons:
            whys = "; ".join(why for _, why in reasons)
            found.append(Suspicion(i, sum(weight for weight, _ in reasons), f"{_place(liked[i])}, but {whys}"))
    found.sort(key=lambda suspicion: (-suspicion.weight, suspicion.index))
    unique: dict[str, Suspicion] = {}
    for suspicion in found:
        unique.setdefault(answers[suspicion.index].text, suspicion)
    return list(unique.values())[:most]


Rule = Callable[[int, ScoredAnswer], Iterator[tuple[float, str]]]


def _rules(answers: Sequence[ScoredAnswer], liked: Sequence[float]) -> tuple[Rule, ...]:
    prompts: dict[str, set[str]] = {}
    for one in answers:
        prompts.setdefault(one.text, set()).add(one.prompt)
    far = ranks([one.kl if one.kl is not None else 0.0 for one in answers])
    others = [one.other for one in answers if one.other is not None]
    seconds = ranks(others) if len(others) == len(answers) else None

    def repeats(_: int, one: ScoredAnswer) -> Iterator[tuple[float, str]]:
        share = self_repetition(one.text)
        if share >= REPEATED:
            yield 1 + share, f"{share:.0%} of its 4-grams are repeats".replace("%", " %")

    def is_stock(_: int, one: ScoredAnswer) -> Iterator[tuple[float, str]]:
        count = len(prompts[one.text])
        if count >= STOCK:
            yield 1 + count / len(answers), f"the same answer was given to {count} different prompts"

    def went_far(i: int, one: ScoredAnswer) -> Iterator[tuple[float, str]]:
        if one.kl is not None and one.kl > 1 and liked[i] >= VERY_LIKED and far[i] >= FAR:
            yield far[i], f"its KL from the reference is {one.kl:.1f} nats, more than most"

    def was_cut(_: int, one: ScoredAnswer) -> Iterator[tuple[float, str]]:
        if one.finish_reason == "length":
            yield 0.5, "it was cut off before EOS"

    def is_disputed(i: int, one: ScoredAnswer) -> Iterator[tuple[float, str]]:
        if seconds is not None and one.other is not None and liked[i] - seconds[i] >= APART:
            yield 1 + liked[i] - seconds[i], f"the second scorer gives it {one.other:.2f}, {_below(seconds[i])}"

    return (repeats, is_stock, went_far, was_cut, is_disputed)


def ranks(values: Sequence[float]) -> list[float]:
    """Each value's rank from 0 (lowest) to 1; equal values get their mean rank."""
    order = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(order):
        first.setdefault(value, place)
        last[value] = place
    return [(first[value] + last[value]) / 2 / max(len(values) - 1, 1) for value in values]


def _place(rank: float) -> str:
    if rank >= VERY_LIKED:
        return "scored among the best tenth"
    return "scored above most"


def _below(rank: float) -> str:
    return "among its worst tenth" if rank <= 1 - VERY_LIKED else "below most"
