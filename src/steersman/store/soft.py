"""Soft labels: what all labels of an item say together, by how reliable each annotator is (`maths.confusion`).

They are computed from the labels at a cursor, gold items and reviewers' decisions included, so the same cursor gives
the same ones. Probabilities are rounded, so that another machine's last digits do not change a snapshot's hash.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from steersman.maths.confusion import Confusion, GivenLabels, estimate_confusion
from steersman.records import Comparison, Label, Record
from steersman.store.items import StoredItem
from steersman.store.judged import CLASSES, MIRRORS, JudgedRow, class_of

DIGITS = 4


@dataclass(frozen=True, slots=True)
class SoftLabel:
    """The probability of each class of an item, how many labels it is from, and whether most ties said both bad."""

    probability: tuple[float, ...]
    labels: int
    both_bad: bool = False

    @property
    def sure(self) -> float:
        """The probability of the most probable class."""
        return max(self.probability)


@dataclass(frozen=True)
class ReliabilityModel:
    """The model of one kind of task: soft labels by item, and annotators in the order of the model's rows."""

    soft: Mapping[int, SoftLabel]
    annotators: tuple[str, ...]
    model: Confusion


def measure_reliability(rows: Iterable[JudgedRow], kind: str) -> ReliabilityModel:
    """The model of all labels of one kind of task. Of an item that somebody judged twice the first label counts."""
    given: dict[tuple[int, str, int], int] = {}
    known: dict[int, int] = {}
    bad: dict[int, list[bool]] = {}
    for row in rows:
        if row.kind != kind or (label := row.label) is None:
            continue
        if row.gold is not None and (expected := class_of(kind, row.gold)) is not None:
            known.setdefault(row.item, expected)
        if row.decided:
            known[row.item] = label
        elif not row.repeat:
            # Labels of nobody in particular may be of several people.
            given.setdefault((row.item, row.annotator, row.number if not row.annotator else 0), label)
        if label == 2:
            bad.setdefault(row.item, []).append(row.verdict.get("both_bad") is True)
    items = sorted({item for item, _, _ in given} | known.keys())
    people = sorted({who for _, who, _ in given})
    place, column = {item: i for i, item in enumerate(items)}, {who: k for k, who in enumerate(people)}
    labels = GivenLabels(
        np.array([place[item] for item, _, _ in given], dtype=np.int64),
        np.array([column[who] for _, who, _ in given], dtype=np.int64),
        np.array(list(given.values()), dtype=np.int64),
        np.array([known.get(item, -1) for item in items], dtype=np.int64),
        len(people),
        len(CLASSES[kind]),
    )
    model = estimate_confusion(labels, mirror=MIRRORS.get(kind))
    counts = np.bincount(labels.item, minlength=len(items))
    soft = {
        item: SoftLabel(
            tuple(round(float(one), DIGITS) for one in model.probability[i]), int(counts[i]), _mostly(bad.get(item, []))
        )
        for i, item in enumerate(items)
    }
    return ReliabilityModel(soft, tuple(people), model)


def soft_record(one: StoredItem, soft: SoftLabel) -> Record:
    """The record of an item with its soft label, in place of its labels."""
    content = one.content
    assert content.prompt is not None
    about = {"labels": soft.labels, "soft": "dawid-skene", "probability": list(soft.probability)}
    if content.kind == "thumb":
        good = soft.probability[0]
        return Label(content.prompt, content.completions[0], desirable=good >= 0.5, metadata=about)
    first, _, tie = soft.probability
    preference = round(first + tie / 2, DIGITS)
    both_bad = soft.both_bad and tie == soft.sure
    return Comparison(content.prompt, *content.completions, preference=preference, both_bad=both_bad, metadata=about)


def _mostly(said: list[bool]) -> bool:
    return 2 * sum(said) > len(said)
