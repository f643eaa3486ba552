"""Quality of a reward model or classifier, from its run's quality.json: accuracy with human agreement as a ceiling,
accuracy by group, and calibration."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import numeral, within
from steersman.maths.statistics import Interval
from steersman.pages.parts import Figure, Figures, Folded, Gauge, Gauges, Part, Section, Words, bar_of
from steersman.reports.reading import ReadRun

NAME = "quality.json"
SHARES = {
    **{name: name for name in ("precision", "recall", "f1")},
    "right_steps": "right steps that are called right",
    "wrong_steps": "wrong steps that are called wrong",
    "first_error": "answers whose first wrong step is found",
    "error_free": "answers without a wrong step in which none is called wrong",
}
BASELINES = ("words", "length")
GROUPS = {
    "by_grade": "by graded strength of the preference",
    "by_length": "by length of the preferred answer relative to the other",
    "by_annotator": "by annotator",
    "by_step": "by the step's number",
}


def quality_of(run: ReadRun) -> Iterator[Section]:
    path = run.folder / NAME
    if not path.is_file():
        return
    try:
        parts = list(parts_of_quality(json.loads(path.read_text())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parts = [Words(f"{NAME} cannot be read ({type(error).__name__}: {error}).")]
    note = "Measured on held-out judgements, texts or steps, with 95 % intervals. Chance is 50 %."
    yield Section("Accuracy and calibration", "Quality", note, tuple(parts))


def parts_of_quality(found: Mapping[str, Any]) -> Iterator[Part]:
    """Accuracy beside the ceiling, calibration, length bias and groups."""
    lines = [("accuracy on held-out data", found["accuracy"], False)]
    baselines = found.get("baselines")
    if baselines:
        lines += [(f"{baselines[key]['name']}, as a baseline", baselines[key]["accuracy"], False) for key in BASELINES]
    ceiling = found.get("ceiling")
    if ceiling:
        lines += [
            ("the model, on items judged by several people", ceiling["model_there"], False),
            ("one person against the majority of the others", ceiling["one_against_others"], True),
            ("agreement of two people", ceiling["agreement"], True),
        ]
    lines += [(name, found[key], False) for key, name in SHARES.items() if isinstance(found.get(key), Mapping)]
    yield _gauges(lines)
    if baselines:
        yield Words(f"{baselines['verdict']} The baselines learned from {baselines['learned_from']}.")
    contributed = found.get("contributed") or []
    if [one["who"] for one in contributed] not in ([], ["people"]):
        told = [
            f"{one['who']} {one['judgements']:,} judgements, {one['weight']:.1%} of the weight" for one in contributed
        ]
        yield Words(f"It learned from {'; '.join(told)}.")
    if "largest" in found:
        yield Words(f"Always predicting the larger class would have an accuracy of {100 * found['largest']:.1f} %.")
    curve = found.get("curve") or found.get("calibration", {}).get("whole", {}).get("curve") or []
    figure = _calibration(curve)
    if figure is not None:
        yield Figures((figure,))
    length = found.get("length")
    if length:
        own, people = length["gap"]["spearman"], length["people"]["spearman"]
        yield Words(
            f"Length bias: the rank correlation of its preference with the length difference is {numeral(own)}; "
            f"people's is {numeral(people)}."
        )
    groups = [
        (title, [(one["group"], one["accuracy"], False) for one in found[key]])
        for key, title in GROUPS.items()
        if found.get(key)
    ]
    for title, of in groups:
        yield Folded(title, (_gauges(of),))


def _gauges(lines: Sequence[tuple[str, Mapping[str, float], bool]]) -> Gauges:
    gauges: list[Gauge] = []
    for name, value, people in lines:
        interval = Interval(value["estimate"], value["low"], value["high"])
        gauges.append(Gauge(str(name), within(interval), people, bar_of(interval, 0.0, 1.0)))
    return Gauges(tuple(gauges))


def _calibration(curve: Sequence[Mapping[str, float]]) -> Figure | None:
    """The calibration curve: observed against predicted probability. A calibrated model follows the diagonal."""
    points = tuple((float(one["probability"]), float(one["outcome"])) for one in curve if one["size"])
    if len(points) < 2:
        return None
    ends = points[0][0], points[-1][0]
    curves = [Curve("predicted", ((ends[0], ends[0]), (ends[1], ends[1])), "faint"), Curve("observed", points, "dots")]
    svg = line_chart("observed frequency by predicted probability", curves, x_name="predicted probability")
    return Figure("Calibration", ("predicted", "observed"), svg, "", False, False)
