"""Settings of the watch, which looks for reward hacking in a PPO run: limits, a held-out scorer, and actions."""

from typing import Literal, get_args

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
    "collapse",
]


class LimitSettings(Settings):
    """Limit of each detector; "none" switches it off. All but kl compare with the answers of the reference."""

    gap: float | None = Field(default=0.6, gt=0)
    """Maximum lead of the scorer's gain over the held-out scorer's gain, in standard deviations of the reference's
    scores."""
    fall: float | None = Field(default=0.3, gt=0)
    """Maximum fall of the held-out score from its best, in standard deviations of the reference's scores."""
    disagreement: float | None = Field(default=2.0, gt=0)
    """Maximum disagreement of an ensemble's members, as a multiple of that on the reference's answers."""
    kl: float | None = Field(default=10.0, gt=0)
    """Maximum KL from the reference, in nats per answer."""
    length: float | None = Field(default=2.0, gt=1)
    """Maximum factor by which answers may become longer or shorter."""
    repetition: float | None = Field(default=0.1, gt=0, le=1)
    """Maximum rise in the share of an answer's 4-grams that are repeats."""
    entropy: float | None = Field(default=0.25, gt=0, lt=1)
    """Minimum entropy, as a share of the reference's."""
    novelty: float | None = Field(default=0.3, gt=0, le=1)
    """Maximum rise in the share of word bigrams that the reference's answers do not contain."""
    takeover: float | None = Field(default=0.65, gt=0, le=1)
    """Maximum rise in the share of answers that contain the same phrase of 3 words."""
    outliers: float | None = Field(default=0.5, gt=0, le=1)
    """Maximum share of answers whose reward-model features lie outside the range of 95 % of the reference's."""
    spread: float | None = Field(default=0.2, gt=0, lt=1)
    """Minimum standard deviation of the scores, as a share of the reference's."""
    collapse: float | None = Field(default=0.5, gt=0, lt=1)
    """Minimum variety that is left of the reference's: length × distinct answers over prompts × answers without the
    commonest opening, each at most 1."""


class WatchSettings(Settings):
    action: Literal["off", Action] = "warn"
    """What a finding does. warn reports it. raise-kl raises the KL coefficient. conservative scores an ensemble lower
    (see `doubt`). stop ends the run. restore ends it and keeps the weights that were best by the held-out scorer
    (without one, by the ensemble's mean less its disagreement). off disables the watch."""
    actions: dict[str, Action] = Field(default_factory=dict)
    """Actions of single detectors that differ from `action`."""
    extensions: dict[str, float] = Field(default_factory=dict)
    """Detectors that installed packages bring, each with its limit."""
    held_out_scorer: ScorerSettings | None = None
    """A scorer that is never trained against: best a reward model with other judgements and another seed."""
    held_out_every: int = Field(default=4, ge=1)
    """Iterations between evaluations by the held-out scorer."""
    held_out_answers: int = Field(default=64, ge=1)
    """Answers per evaluation by the held-out scorer."""
    latent: Literal["auto", "on", "off"] = "auto"
    """Whether to watch the reward model's hidden features. auto: if the scorer is a reward model."""
    patience: int = Field(default=2, ge=1)
    """Checks in a row that must be outside the limit. gap and fall are smoothed over checks and need only one."""
    raise_by: float = Field(default=2.0, gt=1)
    """raise-kl multiplies kl.coefficient by this, again after every `patience` checks while the finding lasts."""
    raise_from: float = Field(default=0.05, gt=0)
    """raise-kl starts from at least this kl.coefficient."""
    doubt: Literal["pessimistic", "min"] = "pessimistic"
    """An ensemble's score after action conservative: the mean less `pessimism` standard deviations, or the minimum."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations over the members that doubt=pessimistic subtracts."""
    evidence: int = Field(default=5, ge=0)
    """Answers saved with each finding in watch.jsonl."""
    limits: LimitSettings = LimitSettings()

    @property
    def chosen(self) -> set[str]:
        """All actions that these settings can trigger."""
        return {self.action, *self.actions.values()} - {"off"}

    @model_validator(mode="after")
    def _off_is_off(self) -> "WatchSettings":
        if self.action == "off" and (self.actions or self.held_out_scorer is not None):
            seen = "watch.actions" if self.actions else "watch.held_out_scorer"
            raise ValueError(
                f"watch.action=off disables the watch, but {seen} is given; leave one of them out, or choose "
                "watch.action=warn"
            )
        return self

    @model_validator(mode="after")
    def _limits_for_the_actions(self) -> "WatchSettings":
        known = get_args(Detector)
        own = [name for name in self.extensions if name in known]
        if own:
            raise ValueError(f"{own[0]!r} is a detector of our own; give its limit as watch.limits.{own[0]}")
        unknown = [name for name in self.actions if name not in {*known, *self.extensions}]
        if unknown:
            expected = ", ".join(repr(name) for name in (*known, *self.extensions))
            raise ValueError(f"watch.actions.{unknown[0]}: there is no such detector; expected one of {expected}")
        off = [name for name in self.actions if name in known and getattr(self.limits, name) is None]
        if off:
            raise ValueError(
                f"watch.actions.{off[0]} is given, but watch.limits.{off[0]} is none, so it never triggers; set that "
                "limit"
            )
        return self
