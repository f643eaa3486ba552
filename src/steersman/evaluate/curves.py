"""Learning curves as inline SVG without scripts, fonts or external files, so that a page with them works offline.

The picture is as wide as its place. Curves are stretched with it; labels and strokes are not, so that labels keep
their 12 pixels on a phone. Colours are CSS variables (--curve-1, --curve-2, --ink-soft, --line), for light and dark
pages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from steersman.evaluate.numerals import numeral

WIDTH, HEIGHT = 360, 216
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
MOST_POINTS = 400

Point = tuple[float | int, float | int]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line. `faint` is for noisy values of every step, `dots` for occasional measurements."""

    name: str
    points: tuple[Point, ...]
    style: Literal["faint", "dots"]


@dataclass(frozen=True, slots=True)
class PlotArea:
    """Maps data to positions on the SVG."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def line_chart(title: str, curves: Sequence[Curve], *, x_name: str, band: tuple[float, float] | None = None) -> str:
    """The SVG, or "" if no curve has two finite points.

    `band` is the usual range of the values. It is shaded within the axes, whose range depends on the curves only.
    """
    drawn = [Curve(c.name, thinned([p for p in c.points if math.isfinite(p[1])]), c.style) for c in curves]
    drawn = [curve for curve in drawn if len(curve.points) > 1]
    if not drawn:
        return ""
    frame = _frame([point for curve in drawn for point in curve.points])
    parts = [
        f'<svg class="chart free" role="img" aria-label="{escape(_aria_label(title, drawn))}">',
        f'<svg viewBox="{LEFT} 0 {WIDTH - LEFT - RIGHT} {HEIGHT}" preserveAspectRatio="none" width="100%" '
        f'height="{HEIGHT}">',
        *_band(frame, band),
        *_grid(frame),
        *(_line(curve, frame, number) for number, curve in enumerate(drawn, 1)),
        "</svg>",
        *_labels(frame, x_name),
        "</svg>",
    ]
    return "".join(parts)


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MOST_POINTS` points: means of neighbours if there are more."""
    size = max(1, -(-len(points) // MOST_POINTS))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple((sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups)


def ticks(low: float, high: float, most: int, *, apart: Sequence[float] = (1.0, 2.0, 5.0, 10.0)) -> list[float]:
    """At most `most` round numbers within the range; their distance is one of `apart` times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in apart if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    # Rounding: 3 steps of 0.1 are not exactly 0.3. The + 0.0 turns -0.0 into 0.0.
    return [round(number * step, 10) + 0.0 for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame(points: Sequence[Point]) -> PlotArea:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    margin = 0.08 * (max(ys) - min(ys)) or 0.1 * abs(ys[0]) or 1.0
    return PlotArea(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, min(ys) - margin, max(ys) + margin)


def _band(frame: PlotArea, band: tuple[float, float] | None) -> list[str]:
    if band is None:
        return []
    low, high = max(band[0], frame.low), min(band[1], frame.high)
    if low >= high:
        return []
    top, height = frame.y(high), frame.y(low) - frame.y(high)
    place = f'x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{height:.1f}"'
    return [f'<rect class="band" {place}/>']


def _grid(frame: PlotArea) -> list[str]:
    return [
        f'<path class="grid" d="M{LEFT} {frame.y(value):.1f}H{WIDTH - RIGHT}"/>'
        for value in ticks(frame.low, frame.high, 4)
    ]


def _labels(frame: PlotArea, x_name: str) -> list[str]:
    """The numbers at the axes. They are outside what is stretched: across in per cent of the plot, down in pixels."""
    found = [
        f'<text class="tick" x="-6" y="{frame.y(value) + 4:.1f}" text-anchor="end">{numeral(value, ".6g")}</text>'
        for value in ticks(frame.low, frame.high, 4)
    ]
    for value in ticks(frame.left, frame.right, 5):
        share = 100 * (value - frame.left) / (frame.right - frame.left)
        place = f'x="{share:.2f}%" y="{HEIGHT - BOTTOM + 16}"'
        found.append(f'<text class="tick" {place} text-anchor="middle">{numeral(value, ".6g")}</text>')
    found.append(f'<text class="tick" x="50%" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_name)}</text>')
    return found


def _line(curve: Curve, frame: PlotArea, number: int) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    line = f'<path class="curve {curve.style} c{number}" d="{path}"/>'
    if curve.style == "faint":
        return line
    # A stroke of no length with round ends is a dot; a circle would be stretched.
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    return f'{line}<path class="dots-of c{number}" d="{dots}"/>'


def _aria_label(title: str, curves: Sequence[Curve]) -> str:
    """The chart as text for screen readers."""
    descriptions = [f"{c.name} from {c.points[0][1]:.3g} to {c.points[-1][1]:.3g}" for c in curves]
    return f"{title}: {'; '.join(descriptions)}"
