"""Settings of the watch over a run of PPO: which limits, whose second opinion, and what to do."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.score import ScorerSettings

Action = Literal["warn", "raise-kl", "conservative", "stop", "restore"]
Detector = Literal[
    "gap",
    "fall",
    "disagreement",
    "kl",
    "length",
    "repetition",
    "entropy",
    "novelty",
    "takeover",
    "outliers",
    "spread",
]


class LimitSettings(Settings):
    """Where each detector's healthy range ends; "none" switches it off. All but kl are measured against the reference's own answers."""

    gap: float | None = Field(default=0.6, gt=0)
    """Deviations that the scorer's praise may be ahead of the held-out scorer's."""
    fall: float | None = Field(default=0.3, gt=0)
    """Deviations that the held-out scorer's praise may fall from its best."""
    disagreement: float | None = Field(default=2.0, gt=0)
    """How many times as much an ensemble may disagree."""
    kl: float | None = Field(default=10.0, gt=0)
    """Nats an answer: the budget."""
    length: float | None = Field(default=2.0, gt=1)
    """How many times as long, or as short, answers may be."""
    repetition: float | None = Field(default=0.1, gt=0, le=1)
    """How much larger the share of an answer's 4-grams that it had said before may be."""
    entropy: float | None = Field(default=0.25, gt=0, lt=1)
    """The share of the entropy that must be left."""
    novelty: float | None = Field(default=0.3, gt=0, le=1)
    """How much larger the share of pairs of words that the reference's answers do not have may be."""
    takeover: float | None = Field(default=0.65, gt=0, le=1)
    """How much more of the answers one phrase (3 words) may be in, as a share."""
    outliers: float | None = Field(default=0.5, gt=0, le=1)
    """The share of answers that the reward model may find unlike 19 in 20 of the reference's."""
    spread: float | None = Field(default=0.2, gt=0, lt=1)
    """The share of the scores' deviation that must be left."""


class WatchSettings(Settings):
    action: Literal["off", Action] = "warn"
    """What to do about a finding: say it; raise the price of the KL; believe an ensemble less; stop; or stop and keep the best weights by
    what the watch believes (the held-out scorer, else an ensemble's mean less its disagreement). off watches nothing."""
    actions: dict[Detector, Action] = Field(default_factory=dict)
    """Other actions for some detectors."""
    held_out_scorer: ScorerSettings | None = None
    """A second opinion that is never learned from: best a reward model of other judgements and another seed."""
    held_out_every: int = Field(default=4, ge=1)
    """Iterations between its opinions."""
    held_out_answers: int = Field(default=64, ge=1)
    """Answers that it is asked about each time."""
    latent: Literal["auto", "on", "off"] = "auto"
    """Whether the reward model's features are watched; auto: where the scorer is one."""
    patience: int = Field(default=2, ge=1)
    """Looks in a row that a detector must be outside its limit; gap and fall, which are smoothed over looks, need one."""
    raise_by: float = Field(default=2.0, gt=1)
    """raise-kl multiplies kl.coefficient by this, again every `patience` looks while it lasts."""
    raise_from: float = Field(default=0.05, gt=0)
    """What raise-kl begins with where kl.coefficient is smaller."""
    doubt: Literal["pessimistic", "min"] = "pessimistic"
    """What conservative takes an ensemble to mean: the mean less `pessimism` standard deviations, or the least of its members."""
    pessimism: float = Field(default=1.0, ge=0)
    evidence: int = Field(default=5, ge=0)
    """Answers kept with each finding in watch.jsonl."""
    limits: LimitSettings = LimitSettings()

    @property
    def chosen(self) -> set[str]:
        """The actions that may be taken."""
        return {self.action, *self.actions.values()} - {"off"}

    @model_validator(mode="after")
    def _off_is_off(self) -> "WatchSettings":
        if self.action == "off" and (self.actions or self.held_out_scorer is not None):
            seen = "watch.actions" if self.actions else "watch.held_out_scorer"
            raise ValueError(
                f"watch.action=off watches nothing, and {seen} is given; leave one of them out, or choose watch.action=warn"
            )
        return self

    @model_validator(mode="after")
    def _limits_for_the_actions(self) -> "WatchSettings":
        off = [name for name in self.actions if getattr(self.limits, name) is None]
        if off:
            raise ValueError(
                f"watch.actions.{off[0]} is given, and watch.limits.{off[0]} is none: it can never be taken"
            )
        return self
