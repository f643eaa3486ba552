"""How good a reward model or a classifier is, from the quality.json that its run left: right answers beside the human ceiling, groups, and
whether its probabilities can be believed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import numeral, within
from steersman.maths.statistics import Interval
from steersman.pages.parts import Figure, Figures, Folded, Gauge, Gauges, Part, Section, Words, bar_of
from steersman.reports.reading import ReadRun

NAME = "quality.json"
GROUPS = {
    "by_grade": "by how much better people found it",
    "by_length": "by the length of the preferred answer beside the other",
    "by_annotator": "by annotator",
}


def quality_of(run: ReadRun) -> Iterator[Section]:
    path = run.folder / NAME
    if not path.is_file():
        return
    try:
        parts = list(_parts(json.loads(path.read_text())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parts = [Words(f"{NAME} is there and cannot be read ({type(error).__name__}: {error}).")]
    note = "Measured on held-out judgements or texts, with 95 % intervals. Tossing a coin would reach 50 %."
    yield Section("How good it is", "Quality", note, tuple(parts))


def _parts(found: Mapping[str, Any]) -> Iterator[Part]:
    lines = [("right on what was held out", found["accuracy"], False)]
    ceiling = found.get("ceiling")
    if ceiling:
        lines += [
            ("the model, where several people judged", ceiling["model_there"], False),
            ("one person against the others", ceiling["one_against_others"], True),
            ("two people with one another", ceiling["agreement"], True),
        ]
    lines += [(name, found[name], False) for name in ("precision", "recall", "f1") if found.get(name)]
    yield _gauges(lines)
    if "largest" in found:
        yield Words(f"Always naming the larger class would be right {100 * found['largest']:.1f} % of the time.")
    curve = found.get("curve") or found.get("calibration", {}).get("whole", {}).get("curve") or []
    figure = _calibration(curve)
    if figure is not None:
        yield Figures((figure,))
    length = found.get("length")
    if length:
        own, people = length["gap"]["spearman"], length["people"]["spearman"]
        yield Words(
            f"Of two answers it prefers the longer one as much as a rank correlation of {numeral(own)} says; people's own is {numeral(people)}."
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
    """What came true against what was promised; believed if it follows the diagonal."""
    points = tuple((float(one["probability"]), float(one["outcome"])) for one in curve if one["size"])
    if len(points) < 2:
        return None
    ends = points[0][0], points[-1][0]
    told = [Curve("promised", ((ends[0], ends[0]), (ends[1], ends[1])), "faint"), Curve("came true", points, "dots")]
    svg = line_chart("how often it was right, by how sure it was", told, x_name="probability that it gave")
    return Figure("Can its probabilities be believed?", ("promised", "came true"), svg, "", False, False)
