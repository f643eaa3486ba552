"""Records of the watch: its inputs, reports and state. Plain numbers and texts, saved in checkpoints and JSON lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.records import Prompt

Action = Literal["warn", "raise-kl", "conservative", "stop", "restore"]


@dataclass(frozen=True, slots=True)
class WatchedAnswer:
    """One answer of the policy. `score` is the scorer's value before reward shaping."""

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
    """All answers of one iteration. `held_out`: the held-out scorer's scores of some of them, by index. `unusual`: each
    answer's outlier distance in the reward model's features (see `latent`)."""

    answers: Sequence[WatchedAnswer]
    held_out: Mapping[int, float]
    unusual: Sequence[float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer shown as evidence for a verdict, and the number it was chosen by."""

    prompt: str
    answer: str
    score: float
    held_out: float | None
    number: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector's finding: its value was outside its limit for enough iterations in a row."""

    step: int
    detector: str
    value: float
    limit: float
    verdict: str
    action: Action
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class WatchReport:
    """The result of one check: numbers for the journal, findings, actions to take (each once), and whether the policy
    that gave these answers is the best so far."""

    numbers: Mapping[str, float]
    findings: Sequence[Finding]
    actions: Sequence[Action]
    best: bool


@dataclass
class WatchMemory:
    """The watch's state between iterations, saved with every checkpoint as a part of the loop's state."""

    baseline: dict[str, Any] | None = None
    """Statistics of the reference's own answers (see `baseline`)."""
    smooth: dict[str, float] = field(default_factory=dict[str, float])
    peak: float | None = None
    """The highest smoothed gain by the held-out scorer."""
    strikes: dict[str, int] = field(default_factory=dict[str, int])
    reported: list[str] = field(default_factory=list[str])
    best_value: float | None = None
    best_step: int = 0
    conservative: bool = False
    restored: bool = False
