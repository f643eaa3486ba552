"""Where more optimisation stopped helping, as a figure of a report: what the optimised score and the held-out ones gained, against the
distance from where the model began. Read from overoptimisation.json, if a folder has one."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.assemble.report_answers import minus
from steersman.evaluate.curves import Curve, line_chart
from steersman.pages.parts import Figure, Figures, Section, Words

NAME = "overoptimisation.json"


def overoptimisation_of(folder: Path) -> Iterator[Section]:
    path = folder / NAME
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text())
        curves = [_curve(one) for one in found["curves"]]
        told = [words for one in found["curves"] if (words := _told(one))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = f"{NAME} is there and cannot be read ({type(error).__name__}: {error}), so there is no picture."
        yield Section("Over-optimisation", "Over-optimisation", "", (Words(words),))
        return
    svg = line_chart("gain against distance", curves, x_name="distance: the root of the KL in nats")
    note = (
        f"Gains over {found.get('start', 'the start')}, in {found.get('unit', 'the scorers own units')}, against the root of the KL. The first "
        f"scorer, {found.get('proxy', 'the proxy')}, was optimised; where it rises and the others turn down, more training harms."
    )
    names = tuple(curve.name for curve in curves if len(curve.points) > 1)
    figures = (
        Figures((Figure("Gain against distance", names, svg, "", False, False),)) if svg else Words("Too few points.")
    )
    yield Section("Over-optimisation", "Over-optimisation", note, (figures, *(Words(words) for words in told)))


def _curve(one: Mapping[str, Any]) -> Curve:
    points = sorted((float(p["distance"]), float(p["gain"]["estimate"])) for p in one["points"])
    return Curve(f"{one['measure']}, {one['walk']}", tuple(points), "dots")


def _told(one: Mapping[str, Any]) -> str:
    """Of a curve that fell from its peak: how much of its best gain was lost."""
    fallen = one.get("fallen")
    if not fallen or fallen["low"] <= 0:
        return ""
    low, high = minus(fallen["low"]), minus(fallen["high"])
    return f"{one['measure']}, {one['walk']}: {minus(fallen['estimate'])} ({low} to {high}) of the best gain was lost by the end."
