"""What gives answers their scores: one Protocol for reward models, ensembles, classifiers and functions.

A score depends on the item alone. Order and batch size change nothing but the last bits, so scorers can be cached, cut
into batches of any size, and run elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from steersman.errors import DataError
from steersman.records import Prompt, SpanReward

Item = tuple[Prompt, str]
"""A prompt and the text of an answer to it."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a whole answer is worth. `parts` are the numbers it was made from; `note` is for people.

    `spans` are rewards within the answer, beside `value` and not part of it (see `shaping.spread_over_tokens`).
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    spans: tuple[SpanReward, ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise DataError(f"a score is a finite number; seen {self.value} (parts: {dict(self.parts)})")


@runtime_checkable
class Scorer(Protocol):
    """`name` is the key under which a completion keeps its score."""

    @property
    def name(self) -> str: ...

    def score(self, items: Sequence[Item]) -> list[Score]: ...


@runtime_checkable
class WorksAhead(Protocol):
    """A scorer that can begin on answers before their scores are asked for, without taking this process's time: a service elsewhere."""

    def ahead(self) -> "Callable[[Sequence[Item]], None] | None":
        """What is told of such answers; None if nothing would come of it. What is begun changes no score."""
        ...


def ahead_of(scorer: object) -> "Callable[[Sequence[Item]], None] | None":
    return scorer.ahead() if isinstance(scorer, WorksAhead) else None


def told(item: Item) -> str:
    """An item in a few words, for messages."""
    prompt, answer = item
    return f"prompt {_short(prompt.shown)!r}, answer {_short(answer)!r}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
