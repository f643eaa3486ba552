"""What the labels of a reward model are worth, from the folder that `steersman worth` has left in its run."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import within
from steersman.maths.statistics import Interval
from steersman.pages.parts import (
    Example,
    Examples,
    Figure,
    Figures,
    Folded,
    Gauge,
    Gauges,
    Part,
    Section,
    Shown,
    TextTable,
    Words,
    bar_of,
)
from steersman.pages.word_diff import unmarked
from steersman.reports.reading import ReadRun

NAME = "worth/worth.json"
COLUMNS = ("labels", "worth, in nats", "accuracy, in points", "verdict")
Described = Callable[[Mapping[str, Any]], tuple[str, tuple[Shown, ...]]]
TITLES = {"annotator": "annotator", "source": "source of labels"}
NOTE = (
    "The worth of labels is how much better the model predicts held-out labels with them than without. Nobody is "
    "measured by their own held-out labels."
)


def worth_of(run: ReadRun) -> Iterator[Section]:
    path = run.folder / NAME
    if not path.is_file():
        return
    try:
        parts = list(parts_of_worth(json.loads(path.read_text())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        parts = [Words(f"{NAME} cannot be read ({type(error).__name__}: {error}).")]
    yield Section("What the labels are worth", "Labels", NOTE, tuple(parts))


def parts_of_worth(found: Mapping[str, Any]) -> Iterator[Part]:
    """Annotators and sources, the learning curve, where model and people disagree, and single labels."""
    for kind, groups in found["groups"].items():
        yield TextTable((TITLES.get(str(kind), str(kind)), *COLUMNS), tuple(_cells(one) for one in groups))
        measured = {one["measured"] for one in groups}
        yield Words(f"Measured by {' and '.join(sorted(measured))}.")
    if found["curve"] is not None:
        yield from _curve(found["curve"])
    yield Words("How often the model agrees with held-out labels, by what people prefer:")
    yield Gauges(tuple(_gauge(one) for one in found["kinds"]))
    if found["disagreements"]:
        yield Folded(
            "held-out pairs on which the model and people disagree", (_examples(found["disagreements"], _disagreement),)
        )
    for title, key in (("labels that hurt most", "worst"), ("labels that helped most", "best")):
        if found[key]:
            yield Folded(title, (_examples(found[key], _label),))
    yield from (Words(note) for note in found["notes"])


def _interval(value: Mapping[str, float]) -> Interval:
    return Interval(value["estimate"], value["low"], value["high"])


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    worth, accuracy = _interval(one["worth"]), _interval(one["accuracy"])
    return (
        one["name"],
        f"{one['labels']:,}",
        f"{worth.estimate:+.4f} ({worth.low:+.4f} to {worth.high:+.4f})",
        _points(accuracy),
        one["verdict"],
    )


def _points(value: Interval) -> str:
    return f"{100 * value.estimate:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _curve(found: Mapping[str, Any]) -> Iterator[Part]:
    points = [(one["labels"], 100 * one["accuracy"]["estimate"]) for one in found["points"]]
    title = "Held-out accuracy by the number of labels, in %"
    svg = line_chart(title, [Curve("accuracy", tuple(points), "dots")], x_name="labels")
    if svg:
        yield Figures((Figure(title, ("accuracy",), svg, "", False, False),))
    rows = [(f"{one['more']:,}", _points(_interval(one["gain"]))) for one in found["ahead"]]
    yield TextTable(("more labels", "expected gain, in points"), tuple(rows))
    yield Words(f"{found['verdict'][:1].upper()}{found['verdict'][1:]}.{_needed(found)}")


def _needed(found: Mapping[str, Any]) -> str:
    needed = found["needed"]
    if needed["estimate"] is None:
        return ""
    high = "more than these sizes show" if needed["high"] is None else f"{needed['high']:,.0f}"
    gain = f"{100 * found['gain']:g} point{'' if found['gain'] == 0.01 else 's'} of accuracy"
    return f" About {needed['estimate']:,.0f} more add {gain} ({needed['low']:,.0f} to {high})."


def _gauge(one: Mapping[str, Any]) -> Gauge:
    agreement = _interval(one["agreement"])
    return Gauge(f"{one['kind']} ({one['labels']:,})", within(agreement), False, bar_of(agreement, 0.0, 1.0))


def _examples(found: Sequence[Mapping[str, Any]], answers: Described) -> Examples:
    return Examples(tuple(Example(one["prompt"], *answers(one)) for one in found), 2, False)


def _disagreement(one: Mapping[str, Any]) -> tuple[str, tuple[Shown, ...]]:
    people = f"{one['people']} of {one['of']}"
    return "", (
        Shown("people prefer", unmarked(one["people_prefer"]), None, people),
        Shown("the model prefers", unmarked(one["model_prefers"]), None, f"{one['probability']:.0%}"),
    )


def _label(one: Mapping[str, Any]) -> tuple[str, tuple[Shown, ...]]:
    why = f"{one['annotator'] or 'somebody'}, row {one['row']:,}: worth {one['worth']:+.2f}"
    return why, (
        Shown("better, by the label", unmarked(one["better"]), None, f"{one['probability']:.0%} by the model"),
        Shown("worse, by the label", unmarked(one["worse"]), None, ""),
    )
