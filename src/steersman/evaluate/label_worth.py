"""What labels are worth to a reward model: which of them and whose moved it, where it and people disagree, and what
more labels would bring. All is measured on held-out labels.

The worth of labels is how much better the model predicts held-out labels with them than without. Nobody's labels are
measured by their own held-out ones: else whoever always errs in the same way would be worth most.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.maths.influence import LabelledPairs
from steersman.maths.statistics import Interval
from steersman.records import Completion, Prompt

HELPS, HURTS, OPEN = "helps", "hurts", "no difference shown"


@dataclass(frozen=True)
class LabelledPair:
    """One label: two answers, and the probability that the first is the better one (0.5 is a tie)."""

    prompt: Prompt
    first: Completion
    second: Completion
    preference: float
    annotator: str
    source: int
    weight: float

    @property
    def decided(self) -> bool:
        return self.preference != 0.5

    @property
    def better_and_worse(self) -> tuple[str, str]:
        return (self.first.text, self.second.text) if self.preference > 0.5 else (self.second.text, self.first.text)


@dataclass(frozen=True)
class LabelSide:
    """The labels of one side with the model's features and margins, row for row."""

    labels: tuple[LabelledPair, ...]
    pairs: LabelledPairs

    @property
    def annotators(self) -> ndarray:
        return np.array([one.annotator for one in self.labels])

    @property
    def right(self) -> Float[ndarray, " pairs"]:
        """1 where the model prefers the answer that the label prefers, 0.5 where it prefers neither."""
        return agreement(self.pairs.margins, self.pairs.targets)


def agreement(margins: Float[ndarray, "*shape"], targets: Float[ndarray, " pairs"]) -> Float[ndarray, "*shape"]:
    return np.sign(margins) * np.where(targets > 0.5, 1.0, -1.0) / 2 + 0.5


@dataclass(frozen=True, slots=True)
class GroupWorth:
    """The labels of an annotator, or of a source. `worth` is how much the loss on others' held-out labels would rise
    without them, in nats a label, and `accuracy` how much the accuracy would fall. `moved` is how far the held-out
    margins would move (root mean square), and `measured` how it is known: by influence, or by training without them."""

    name: str
    labels: int
    share: float
    moved: float
    worth: Interval
    accuracy: Interval
    measured: str

    @property
    def verdict(self) -> str:
        """The word for the interval of the worth."""
        return HELPS if self.worth.low > 0 else HURTS if self.worth.high < 0 else OPEN


@dataclass(frozen=True, slots=True)
class LabelWorth:
    """One label that the model learned from. `row` counts from 0 in the order of the data; `probability` is what the
    model gives to the answer that the label prefers."""

    row: int
    annotator: str
    prompt: str
    better: str
    worse: str
    worth: float
    probability: float


@dataclass(frozen=True, slots=True)
class ModelDisagreement:
    """A held-out pair of which the model prefers the other answer than people: so many of so many, and how sure the
    model is."""

    prompt: str
    people_prefer: str
    model_prefers: str
    people: int
    of: int
    probability: float


@dataclass(frozen=True, slots=True)
class KindAgreement:
    """How often the model agrees with held-out labels of one kind."""

    kind: str
    labels: int
    agreement: Interval


@dataclass(frozen=True, slots=True)
class CurvePoint:
    labels: int
    models: int
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Ahead:
    """The accuracy that so many more labels are expected to add."""

    more: int
    gain: Interval


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """`needed` are the more labels that are expected to raise the accuracy by `gain`; infinite where the curve does not
    reach it."""

    points: tuple[CurvePoint, ...]
    ahead: tuple[Ahead, ...]
    gain: float
    needed: Interval

    @property
    def verdict(self) -> str:
        twice = next(one for one in self.ahead if one.more == self.points[-1].labels)
        if twice.gain.low > 0:
            return "more labels are worth asking for"
        if twice.gain.high < self.gain:
            return "more labels of this kind are not worth asking for"
        return "these sizes do not show whether more labels are worth asking for"


@dataclass(frozen=True)
class Worth:
    """All of it. `worst` and `best` are the labels that hurt and helped most; `curve` is None if none was measured."""

    run: str
    labels: int
    held_out: int
    accuracy: Interval
    groups: Mapping[str, tuple[GroupWorth, ...]]
    best: tuple[LabelWorth, ...]
    worst: tuple[LabelWorth, ...]
    kinds: tuple[KindAgreement, ...]
    disagreements: tuple[ModelDisagreement, ...]
    curve: LearningCurve | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        found = _plain(asdict(self))
        for kind, groups in self.groups.items():
            for row, one in zip(found["groups"][kind], groups, strict=True):
                row["verdict"] = one.verdict
        if self.curve is not None:
            found["curve"]["verdict"] = self.curve.verdict
        return found


def _plain(value: Any) -> Any:
    """As JSON has it: intervals by name, and None for what is infinite or not known."""
    if isinstance(value, Interval):
        return {key: _plain(number) for key, number in value._asdict().items()}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
