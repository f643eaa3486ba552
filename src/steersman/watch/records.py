"""What the watch sees, measures, says and remembers. Plain numbers and texts: all of it goes into checkpoints and JSON lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.records import Prompt

Action = Literal["warn", "raise-kl", "conservative", "stop", "restore"]


@dataclass(frozen=True, slots=True)
class WatchedAnswer:
    """One answer of the policy. `score` is what the scorer said, before anything was made of it."""

    prompt: Prompt
    text: str
    tokens: int
    ended: bool
    score: float
    parts: Mapping[str, float]
    kl: float
    """log policy(answer) - log reference(answer), in nats."""
    entropy: float
    """The mean over its tokens."""


@dataclass(frozen=True, slots=True)
class IterationAnswers:
    """All answers of one iteration, with the second opinions that were asked for: the held-out scores of some of them (by place), and
    how unusual the reward model finds each (see `latent`)."""

    answers: Sequence[WatchedAnswer]
    held_out: Mapping[int, float]
    unusual: Sequence[float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer that a verdict rests on, and the number that speaks against it."""

    prompt: str
    answer: str
    score: float
    held_out: float | None
    number: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector that has left its range for long enough."""

    step: int
    detector: str
    value: float
    limit: float
    verdict: str
    action: Action
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What came of one look: numbers for the journal, findings, what is to be done (each action once), and whether the policy that
    gave these answers is the best so far."""

    numbers: Mapping[str, float]
    findings: Sequence[Finding]
    actions: Sequence[Action]
    best: bool


@dataclass
class WatchMemory:
    """What the watch remembers between iterations: a part of the loop's memory, saved with every checkpoint."""

    baseline: dict[str, Any] | None = None
    """What the reference's own answers were like (see `baseline`)."""
    smooth: dict[str, float] = field(default_factory=dict[str, float])
    peak: float | None = None
    """The highest smoothed gain by the held-out scorer."""
    strikes: dict[str, int] = field(default_factory=dict[str, int])
    reported: list[str] = field(default_factory=list[str])
    best_value: float | None = None
    best_step: int = 0
    conservative: bool = False
    restored: bool = False
