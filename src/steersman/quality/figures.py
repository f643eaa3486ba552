"""All figures of a project's quality, computed from its labels: what the studio's pages and the command line show."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from steersman.maths.statistics import Interval
from steersman.quality.agreement import Agreement, TwoAnnotators, compare_annotators, measure_agreement
from steersman.quality.annotators import AnnotatorFigures, Times, measure_people, measure_times, median_by_kind
from steersman.quality.bias import Bias, measure_bias
from steersman.quality.doubt import Doubtful, doubtful_items
from steersman.quality.features import PairForms
from steersman.store.judged import CLASSES, JudgedRow, judged_rows
from steersman.store.projects import Project
from steersman.store.reading_cursor import cursor_of
from steersman.store.soft import ReliabilityModel, SoftLabel, measure_reliability


@dataclass(frozen=True)
class Quality:
    """The quality of a project's labels at an event. `sure` is the mean probability of the most probable class of its
    pairs and thumbs; `choices` counts labels by how their task was chosen."""

    project: str
    event: int
    labels: int
    items: int
    decided: int
    gold_labels: int
    repeats: int
    sure: float | None
    agreement: tuple[Agreement, ...]
    two: tuple[TwoAnnotators, ...]
    annotators: tuple[AnnotatorFigures, ...]
    bias: Bias
    times: Times | None
    doubtful: tuple[Doubtful, ...]
    choices: Mapping[str, int]
    soft: Mapping[int, SoftLabel]

    def as_dict(self, most: int = 100) -> dict[str, Any]:
        """As JSON: intervals as estimate, low and high; what is not known as null; the first doubtful items."""
        whole = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "soft"}
        whole["doubtful"] = {"count": len(self.doubtful), "first": self.doubtful[:most]}
        return _plain(whole)


def measure_quality(found: Project, forms: PairForms | None = None) -> Quality:
    """The figures of a project as it is now. `forms` are kept from one time to the next."""
    cursor = cursor_of(found)
    rows = list(judged_rows(found, cursor))
    models = {kind: measure_reliability(rows, kind) for kind in CLASSES}
    soft = {item: one for model in models.values() for item, one in model.soft.items()}
    shapes = (forms or PairForms()).of(found, [row.item for row in rows if row.kind == "pair"])
    return Quality(
        project=found.name,
        event=cursor.head,
        labels=sum(not row.decided for row in rows),
        items=len({row.item for row in rows}),
        decided=len({row.item for row in rows if row.decided}),
        gold_labels=sum(row.gold is not None and not row.decided for row in rows),
        repeats=sum(row.repeat for row in rows),
        sure=_mean([one.sure for one in soft.values()]),
        agreement=tuple(measure_agreement(rows)),
        two=tuple(compare_annotators(rows)),
        annotators=tuple(measure_people(rows, shapes, _used(models))),
        bias=measure_bias([row for row in rows if not row.repeat], shapes),
        times=measure_times(rows, median_by_kind(rows)),
        doubtful=tuple(doubtful_items(found, rows, soft)),
        choices=_choices(rows),
        soft=soft,
    )


def _used(models: Mapping[str, ReliabilityModel]) -> dict[str, ReliabilityModel]:
    return {kind: model for kind, model in models.items() if model.annotators}


def _choices(rows: Sequence[JudgedRow]) -> dict[str, int]:
    return dict(sorted(Counter(row.choice for row in rows if row.choice and not row.repeat).items()))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return None if math.isnan(value.estimate) else {name: round(one, 4) for name, one in value._asdict().items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in asdict(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
