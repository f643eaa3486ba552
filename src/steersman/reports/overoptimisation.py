"""Over-optimisation as a section of a report: gains by the optimised scorer and by held-out scorers, against the square
root of the KL from the initial model. Read from overoptimisation.json, if a folder has one."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from steersman.evaluate.checkpoints import CURVES, PICTURE
from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Figure, Figures, Section, Sentence, Words


@dataclass(frozen=True)
class OveroptimisationPart:
    """What a folder's overoptimisation.json gives a report: a section, and sentences for the summary about scores that
    declined before the end. Both are empty where there is no such file."""

    sections: tuple[Section, ...] = ()
    sentences: tuple[Sentence, ...] = ()


def overoptimisation_of(folder: Path) -> OveroptimisationPart:
    """The part of the report that the folder's overoptimisation.json makes."""
    path = folder / CURVES
    if not path.is_file():
        return OveroptimisationPart()
    try:
        found = json.loads(path.read_text())
        curves = [_curve(one) for one in found["curves"]]
        sentences = [sentence for one in found["curves"] if (sentence := _decline(one))]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        problem = f"{CURVES} cannot be read ({type(error).__name__}: {error}), so there is no chart."
        return OveroptimisationPart((Section("Over-optimisation", "Over-optimisation", "", (Words(problem),)),))
    title = "gain against distance"
    drawn = folder / PICTURE
    chart = line_chart(title, curves, x_name="distance: square root of the KL in nats")
    svg = _embedded(drawn, title, curves) if drawn.is_file() else chart
    note = (
        f"Gains over {found.get('start', 'the start')}, in {found.get('unit', 'the scorers own units')}, against the "
        f"square root of the KL. The first scorer, {found.get('proxy', 'the proxy')}, was optimised. Where it rises "
        "and the others fall, the run is over-optimised."
    )
    # The evaluation's own chart includes its legend.
    names = () if drawn.is_file() else tuple(curve.name for curve in curves if len(curve.points) > 1)
    figure = Figure("Gain against distance", names, svg, "", False, False)
    figures = Figures((figure,), wide=True) if svg else Words("Too few points.")
    parts = (figures, *(Words(sentence) for sentence in sentences))
    section = Section("Over-optimisation", "Over-optimisation", note, parts)
    return OveroptimisationPart((section,), tuple(Sentence(sentence, "bad") for sentence in sentences))


def _embedded(path: Path, title: str, curves: Sequence[Curve]) -> str:
    """The chart as an embedded <img>, in which an SVG's own styles and scripts have no effect."""
    summary = "; ".join(f"{c.name} from {c.points[0][1]:.2f} to {c.points[-1][1]:.2f}" for c in curves if c.points)
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="chart" alt="{escape(f"{title}: {summary}")}" src="data:image/svg+xml;base64,{data}">'


def _curve(one: Mapping[str, Any]) -> Curve:
    points = sorted((float(p["distance"]), float(p["gain"]["estimate"])) for p in one["points"])
    return Curve(f"{one['measure']}, {one['walk']}", tuple(points), "dots")


def _decline(one: Mapping[str, Any]) -> str:
    """A sentence about a curve that fell significantly from its peak: where the peak was, and the loss since."""
    fallen = one.get("fallen")
    if not fallen or fallen["low"] <= 0:
        return ""
    best = max(one["points"], key=lambda point: float(point["gain"]["estimate"]))
    low, high = numeral(fallen["low"]), numeral(fallen["high"])
    return (
        f"By {one['measure']}, {one['walk']} gained most, {numeral(best['gain']['estimate'])} standard deviations, at "
        f"a KL of {numeral(best['kl'])}, and lost {numeral(fallen['estimate'])} ({low} to {high}) of it by the end."
    )
