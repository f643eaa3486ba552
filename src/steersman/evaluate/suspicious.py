"""Answers that a scorer liked and a reader might not: what to look at first when one fears that a reward was gamed.

Each reason is a plain fact about the answer beside its score, none is a proof. Only answers that scored at least as well as most are
suspicious: what scores badly harms nobody's judgement.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from steersman.evaluate.wording import self_repetition

LIKED, VERY_LIKED = 0.5, 0.9
"""Quantiles of the score from which an answer counts as liked, and as one of the best."""
FAR = 0.9
REPEATED = 0.2
STOCK = 3
"""An answer given word for word to so many different prompts is a stock phrase."""
APART = 0.6
"""How far apart, in ranks from 0 to 1, two scorers must be."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer that was scored. `kl` is log policy - log reference of the whole answer; `other` what a second, held-out scorer says."""

    prompt: str
    text: str
    score: float
    kl: float | None
    finish_reason: str
    other: float | None


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Which answer, how much so (for sorting only), and why."""

    index: int
    weight: float
    why: str


def suspicions(answers: Sequence[Seen], most: int) -> list[Suspicion]:
    """The most suspicious answers, at most one for each text."""
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


Rule = Callable[[int, Seen], Iterator[tuple[float, str]]]


def _rules(answers: Sequence[Seen], liked: Sequence[float]) -> tuple[Rule, ...]:
    prompts: dict[str, set[str]] = {}
    for one in answers:
        prompts.setdefault(one.text, set()).add(one.prompt)
    far = ranks([one.kl if one.kl is not None else 0.0 for one in answers])
    others = [one.other for one in answers if one.other is not None]
    seconds = ranks(others) if len(others) == len(answers) else None

    def repeats(_: int, one: Seen) -> Iterator[tuple[float, str]]:
        share = self_repetition(one.text)
        if share >= REPEATED:
            yield 1 + share, f"{share:.0%} of it was said before in the same answer".replace("%", " %")

    def is_stock(_: int, one: Seen) -> Iterator[tuple[float, str]]:
        count = len(prompts[one.text])
        if count >= STOCK:
            yield 1 + count / len(answers), f"the same answer was given to {count} different prompts"

    def went_far(i: int, one: Seen) -> Iterator[tuple[float, str]]:
        if one.kl is not None and one.kl > 1 and liked[i] >= VERY_LIKED and far[i] >= FAR:
            yield far[i], f"it lies {one.kl:.1f} nats from what the frozen model would say, further than most"

    def was_cut(_: int, one: Seen) -> Iterator[tuple[float, str]]:
        if one.finish_reason == "length":
            yield 0.5, "it never came to an end"

    def is_disputed(i: int, one: Seen) -> Iterator[tuple[float, str]]:
        if seconds is not None and one.other is not None and liked[i] - seconds[i] >= APART:
            yield 1 + liked[i] - seconds[i], f"the second scorer gives it {one.other:.2f}, {_below(seconds[i])}"

    return (repeats, is_stock, went_far, was_cut, is_disputed)


def ranks(values: Sequence[float]) -> list[float]:
    """Each value's place among all, from 0 (least) to 1; equal values share the middle of theirs."""
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
