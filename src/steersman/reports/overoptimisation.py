"""Where more optimisation stopped helping, as a figure of a report: what the optimised score and the held-out ones gained, against the
distance from where the model began. Read from overoptimisation.json, if a folder has one."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from steersman.evaluate.checkpoints import CURVES, PICTURE
from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Figure, Figures, Section, Sentence, Words


def overoptimisation_of(folder: Path) -> Iterator[Section]:
    path = folder / CURVES
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text())
        curves = [_curve(one) for one in found["curves"]]
        told = [words for one in found["curves"] if (words := _told(one))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = f"{CURVES} is there and cannot be read ({type(error).__name__}: {error}), so there is no picture."
        yield Section("Over-optimisation", "Over-optimisation", "", (Words(words),))
        return
    title = "gain against distance"
    drawn = folder / PICTURE
    chart = line_chart(title, curves, x_name="distance: the root of the KL in nats")
    svg = _embedded(drawn, title, curves) if drawn.is_file() else chart
    note = (
        f"Gains over {found.get('start', 'the start')}, in {found.get('unit', 'the scorers own units')}, against the root of the KL. The first "
        f"scorer, {found.get('proxy', 'the proxy')}, was optimised; where it rises and the others turn down, more training harms."
    )
    # The evaluation's own picture has its legend in it.
    names = () if drawn.is_file() else tuple(curve.name for curve in curves if len(curve.points) > 1)
    figure = Figure("Gain against distance", names, svg, "", False, False)
    figures = Figures((figure,), wide=True) if svg else Words("Too few points.")
    yield Section("Over-optimisation", "Over-optimisation", note, (figures, *(Words(words) for words in told)))


def _embedded(path: Path, title: str, curves: Sequence[Curve]) -> str:
    """The picture as an image inside the page: a file's own styles and scripts do nothing there."""
    spoken = "; ".join(f"{c.name} from {c.points[0][1]:.2f} to {c.points[-1][1]:.2f}" for c in curves if c.points)
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="chart" alt="{escape(f"{title}: {spoken}")}" src="data:image/svg+xml;base64,{data}">'


def _curve(one: Mapping[str, Any]) -> Curve:
    points = sorted((float(p["distance"]), float(p["gain"]["estimate"])) for p in one["points"])
    return Curve(f"{one['measure']}, {one['walk']}", tuple(points), "dots")


def overoptimisation_sentences(folder: Path) -> list[Sentence]:
    """For the verdict: what turned down before the end."""
    try:
        curves = json.loads((folder / CURVES).read_text())["curves"]
        told = [_told(one) for one in curves]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []  # what is unreadable is said in its section
    return [Sentence(words, "bad") for words in told if words]


def _told(one: Mapping[str, Any]) -> str:
    """Of a curve that surely fell from its peak: where that was, and how much was lost."""
    fallen = one.get("fallen")
    if not fallen or fallen["low"] <= 0:
        return ""
    best = max(one["points"], key=lambda point: float(point["gain"]["estimate"]))
    low, high = numeral(fallen["low"]), numeral(fallen["high"])
    return (
        f"By {one['measure']}, {one['walk']} gained most, {numeral(best['gain']['estimate'])} deviations, at a KL of {numeral(best['kl'])}, and "
        f"lost {numeral(fallen['estimate'])} ({low} to {high}) of it by the end."
    )
