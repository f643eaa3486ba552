"""The Scorer protocol of reward models, ensembles, classifiers, functions and services.

A score depends on the item alone. Order and batch size change only the last bits, so scores can be cached, computed in
batches of any size, and computed on another machine.
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
    """The score of a whole answer. `parts` are the numbers it was computed from; `note` is a remark for people.

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
    """Scores answers. `name` is the key of its scores in records of completions."""

    @property
    def name(self) -> str: ...

    def score(self, items: Sequence[Item]) -> list[Score]: ...


@runtime_checkable
class WorksAhead(Protocol):
    """A scorer that can prefetch scores outside this process while answers are being generated: a remote service."""

    def ahead(self) -> "Callable[[Sequence[Item]], None] | None":
        """The function to call with finished answers; None if prefetching is useless. It never changes a score."""
        ...


def ahead_of(scorer: object) -> "Callable[[Sequence[Item]], None] | None":
    return scorer.ahead() if isinstance(scorer, WorksAhead) else None


def describe_item(item: Item) -> str:
    """A short description of an item, for messages."""
    prompt, answer = item
    return f"prompt {_short(prompt.shown)!r}, answer {_short(answer)!r}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
