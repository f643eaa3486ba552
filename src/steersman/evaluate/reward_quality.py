"""Quality of a reward model on judged pairs: accuracy by group, calibration, length bias, inter-annotator agreement.

Accuracy needs the annotators' agreement as a yardstick: 70 % is close to the ceiling if annotators agree 72 % of the
time, and poor if they agree 90 %.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from steersman.evaluate.baselines import Baselines
from steersman.evaluate.calibration import Calibration, measure_calibration
from steersman.evaluate.ceiling import HumanCeiling, human_ceiling, share_interval
from steersman.evaluate.judged_pairs import JudgedPairs, rows_by
from steersman.evaluate.position import Positions, measure_positions
from steersman.maths.statistics import Interval, pearson, spearman

CONFIDENCE = 0.95
# Length difference, preferred answer minus the other, relative to the longer one.
LENGTHS = (
    ("much shorter", -math.inf, -1 / 3),
    ("shorter", -1 / 3, -0.1),
    ("about as long", -0.1, 0.1),
    ("longer", 0.1, 1 / 3),
    ("much longer", 1 / 3, math.inf),
)
MANY_GRADES = 8
"""More distinct margins than this are not grades of a scale; they are then grouped by quartile."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on a group of judgements without ties; equal scores count half."""

    group: str
    judgements: int
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Correlation:
    pearson: float
    spearman: float


@dataclass(frozen=True, slots=True)
class LengthFacts:
    """Correlations with length.

    `gap`: score gap with length gap. `score`: scores with lengths over single answers. `people`: human preference with
    length gap. `longer_wins`: accuracy of always preferring the longer answer; None if all pairs have equal lengths.
    """

    gap: Correlation
    score: Correlation
    people: Correlation
    longer_wins: Interval | None


@dataclass(frozen=True, slots=True)
class RewardQuality:
    judgements: int
    ties: int
    equal_scores: int
    accuracy: Interval
    by_grade: tuple[Accuracy, ...]
    by_length: tuple[Accuracy, ...]
    by_annotator: tuple[Accuracy, ...]
    calibration: Calibration
    length: LengthFacts
    ceiling: HumanCeiling | None
    positions: Positions
    baselines: Baselines | None
    """None where the texts of the answers were not given."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for what could not be measured."""
        return plain(self)


def measure_reward_quality(judged: JudgedPairs, baselines: Baselines | None = None) -> RewardQuality:
    """The whole report; `baselines` come from `measure_baselines`, which reads the texts."""
    decided = judged.decided
    return RewardQuality(
        judgements=len(judged),
        ties=int((~decided).sum()),
        equal_scores=int((judged.gap[decided] == 0).sum()),
        accuracy=accuracy_of(judged, decided),
        by_grade=_by_grade(judged),
        by_length=_by_length(judged),
        by_annotator=_by_annotator(judged),
        calibration=measure_calibration(judged.gap, judged.preference, judged.pair),
        length=_length_facts(judged),
        ceiling=human_ceiling(judged, confidence=CONFIDENCE),
        positions=measure_positions(judged, confidence=CONFIDENCE),
        baselines=baselines,
    )


def accuracy_of(judged: JudgedPairs, rows: Bool[ndarray, " pairs"]) -> Interval:
    """Accuracy on these rows, with a Wilson interval in which a pair with several judgements counts once."""
    chosen = np.flatnonzero(rows)
    right = [float(judged.right[i]) for i in chosen]
    return share_interval(right, [judged.pair[i] for i in chosen], confidence=CONFIDENCE)


def _by(judged: JudgedPairs, keys: Sequence[Any], name: Callable[[Any], str]) -> tuple[Accuracy, ...]:
    """Accuracy per key, over rows without ties; the key None is skipped."""
    found: list[Accuracy] = []
    for key, members in rows_by(keys).items():
        rows = np.zeros(len(judged), dtype=np.bool_)
        rows[members] = True
        rows &= judged.decided
        if key is not None and rows.any():
            found.append(Accuracy(name(key), int(rows.sum()), accuracy_of(judged, rows)))
    return tuple(found)


def _by_annotator(judged: JudgedPairs) -> tuple[Accuracy, ...]:
    """Accuracy against each annotator, sorted by name; empty if there is only one."""
    groups = _by(judged, judged.annotator, str) if len(set(judged.annotator)) > 1 else ()
    return tuple(sorted(groups, key=lambda group: group.group))


def _by_grade(judged: JudgedPairs) -> tuple[Accuracy, ...]:
    graded = np.isfinite(judged.margin) & judged.decided
    grades = np.unique(judged.margin[graded])
    if len(grades) == 0:
        return ()
    if len(grades) <= MANY_GRADES:
        found = _by(
            judged, [float(m) if ok else None for m, ok in zip(judged.margin, graded, strict=True)], lambda m: f"{m:g}"
        )
        return tuple(sorted(found, key=lambda group: float(group.group)))
    edges = np.quantile(judged.margin[graded], [0.25, 0.5, 0.75])
    quarter = np.searchsorted(edges, judged.margin, side="left")
    names = (f"up to {edges[0]:.3g}", f"up to {edges[1]:.3g}", f"up to {edges[2]:.3g}", f"above {edges[2]:.3g}")
    groups = {
        g.group: g
        for g in _by(
            judged, [int(q) if ok else None for q, ok in zip(quarter, graded, strict=True)], lambda q: names[q]
        )
    }
    return tuple(groups[name] for name in dict.fromkeys(names) if name in groups)


def _by_length(judged: JudgedPairs) -> tuple[Accuracy, ...]:
    found: list[Accuracy] = []
    for name, low, high in LENGTHS:
        # A length on an edge belongs to the group closer to "about as long".
        above = judged.longer >= low if low < 0 else judged.longer > low
        below = judged.longer < high if high < 0 else judged.longer <= high
        rows = above & below & judged.decided
        if rows.any():
            found.append(Accuracy(name, int(rows.sum()), accuracy_of(judged, rows)))
    return tuple(found)


def _length_facts(judged: JudgedPairs) -> LengthFacts:
    length_gap = judged.first_length - judged.second_length
    # Each answer once, however many pairs it is in.
    answers: Mapping[str, tuple[float, float]] = {
        name: (float(score), float(length))
        for names, scores, lengths in (
            (judged.first, judged.first_score, judged.first_length),
            (judged.second, judged.second_score, judged.second_length),
        )
        for name, score, length in zip(names, scores, lengths, strict=True)
    }
    single = np.array(list(answers.values()), dtype=np.float64)
    unequal = np.flatnonzero(judged.decided & (length_gap != 0))
    wins = [float(judged.longer[i] > 0) for i in unequal]
    return LengthFacts(
        # Each pair is counted in both orders; otherwise the file's order of answers would matter.
        gap=_mirrored(judged.gap, length_gap),
        score=Correlation(pearson(single[:, 0], single[:, 1]), spearman(single[:, 0], single[:, 1])),
        people=_mirrored(judged.preference - 0.5, length_gap),
        longer_wins=share_interval(wins, [judged.pair[i] for i in unequal], confidence=CONFIDENCE) if wins else None,
    )


def _mirrored(first: Float[ndarray, " pairs"], second: Float[ndarray, " pairs"]) -> Correlation:
    one, other = np.concatenate([first, -first]), np.concatenate([second, -second])
    return Correlation(pearson(one, other), spearman(one, other))


def plain(value: Any) -> Any:
    """JSON values: dataclasses and named tuples as dictionaries, tuples as lists, NaN and infinity as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
