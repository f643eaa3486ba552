"""The over-optimisation figure as SVG: gains against sqrt(KL), of training and best-of-n on the same axes, with fits.

It has no external files. Embedded in a page it takes the page's colours (--curve-1, --curve-2, …, --ink, --ink-soft,
--line); by itself it has its own, for a light and a dark screen.
"""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from steersman.evaluate.curves import ticks
from steersman.evaluate.numerals import numeral
from steersman.evaluate.overoptimisation import GainCurve, Overoptimisation, Point, curve_value
from steersman.maths.statistics import Interval

WIDTH, HEIGHT_OF_WINS = 760, 96.0
LEFT, RIGHT, TOP, MAIN, GAP, BOTTOM = 58.0, 132.0, 44.0, 330.0, 34.0, 58.0
LIGHT = ("#b4532a", "#1f6f8b", "#5b7f2b", "#7a4f9a")
DARK = ("#f0956a", "#66c1dd", "#a6cf6a", "#c39be3")
SAMPLES = 80
LINE_HEIGHT = 17
APART = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Allowed distances of axis ticks, times a power of ten."""


class PictureArea:
    """Maps data to positions on the SVG."""

    def __init__(self, right: float, low: float, high: float, top: float, height: float) -> None:
        self.right, self.low, self.high, self.top, self.height = right, low, high, top, height

    def x(self, distance: float) -> float:
        return LEFT + distance / self.right * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.top + self.height - (value - self.low) / (self.high - self.low) * self.height


def picture(found: Overoptimisation) -> str:
    """The figure as an SVG string."""
    points = [point for curve in found.curves for point in curve.points]
    right = 1.04 * max([*(point.distance for point in points), *(d for _, d, _ in found.wins), 0.1])
    values = [bound for point in points for bound in point.gain] + [0.0]
    low, high = min(values), max(values)
    air = 0.06 * (high - low or 1.0)
    main = PictureArea(right, low - air, high + air, TOP, MAIN)
    height = TOP + MAIN + BOTTOM + (GAP + HEIGHT_OF_WINS if found.wins else 0)
    colours = {measure: number for number, measure in enumerate(dict.fromkeys(c.measure for c in found.curves), 1)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="overoptimisation" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(spoken(found))}">',
        _style(len(colours)),
        *_legend(found.curves),
        *_grid(main, found),
    ]
    # The proxy is drawn first, so that the gold curves are on top of it.
    for curve in found.curves:
        parts += _curve(curve, main, colours[curve.measure])
    parts += _labels(found.curves, main, colours)
    bottom = TOP + MAIN
    if found.wins:
        below = PictureArea(right, 0.0, 1.0, TOP + MAIN + GAP, HEIGHT_OF_WINS)
        parts += _wins(found.wins, below)
        bottom += GAP + HEIGHT_OF_WINS
    parts += _axis(main, bottom)
    return "".join([*parts, "</svg>"])


def spoken(found: Overoptimisation) -> str:
    """The figure as text for screen readers."""
    ends = [
        f"{c.measure}, {c.walk}: best {c.best.gain.estimate:.2f} at a KL of {c.best.kl:.2f}, last "
        f"{c.points[-1].gain.estimate:.2f} at {c.points[-1].kl:.2f}"
        for c in found.curves
    ]
    return f"Gain over {found.start} against the distance from it. {'; '.join(ends)}"


def _style(colours: int) -> str:
    def variables(own: Sequence[str], ink: str, soft: str, line: str, paper: str) -> str:
        curves = "".join(
            f"--oo-{n}:var(--curve-{n},{own[(n - 1) % len(own)]});" for n in range(1, max(colours, len(own)) + 1)
        )
        return (
            f"{curves}--oo-ink:var(--ink,{ink});--oo-soft:var(--ink-soft,{soft});--oo-line:var(--line,{line});"
            f"--oo-paper:var(--paper,{paper})"
        )

    light = variables(LIGHT, "#22272c", "#66707a", "#dfe3e7", "#ffffff")
    dark = variables(DARK, "#e8eaed", "#9aa4ae", "#343b42", "#15191d")
    return (
        f"<style>.overoptimisation{{{light};"
        "font:13px system-ui,sans-serif;max-width:100%;height:auto;font-variant-numeric:tabular-nums}"
        f"@media(prefers-color-scheme:dark){{.overoptimisation{{{dark}}}}}"
        ".overoptimisation text{fill:var(--oo-ink)}.overoptimisation .soft{fill:var(--oo-soft)}"
        ".overoptimisation .grid{stroke:var(--oo-line);stroke-width:1}.overoptimisation "
        ".zero{stroke:var(--oo-soft);stroke-width:1}.overoptimisation "
        ".best{stroke:var(--oo-soft);stroke-width:1;stroke-dasharray:2 4}.overoptimisation "
        ".sum{font-weight:600;paint-order:stroke;stroke:var(--oo-paper);stroke-width:4;stroke-linejoin:round}</style>"
    )


def _legend(curves: Sequence[GainCurve]) -> list[str]:
    """The legend: marks of the optimisation methods, and line styles of fits."""
    x, y = float(LEFT), 18.0
    parts: list[str] = []
    for walk, shape in dict.fromkeys((curve.walk, curve.shape) for curve in curves):
        parts.append(_mark(shape, x + 6, y - 4, "var(--oo-ink)"))
        parts.append(f'<text x="{x + 18}" y="{y}">{escape(walk)}</text>')
        x += 34 + 7.2 * len(walk)
    kinds = {(c.shape, c.fit is not None and c.fit.holds) for c in curves}
    for held, words, dash, opacity in (
        (True, "fit that holds", "", 1.0),
        (False, "no fit that holds", "1 5", 0.8),
    ):
        if any(holds == held for _, holds in kinds):
            style = (
                f'stroke="var(--oo-soft)" stroke-width="2" stroke-dasharray="{dash}" '
                f'opacity="{opacity}" stroke-linecap="round"'
            )
            parts.append(f'<line x1="{x + 4:.1f}" x2="{x + 30:.1f}" y1="{y - 4}" y2="{y - 4}" {style}/>')
            parts.append(f'<text class="soft" x="{x + 38:.1f}" y="{y}">{words}</text>')
            x += 62 + 6.6 * len(words)
    return parts


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "trained":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    corners = f"M{x:.1f} {y - 5.5:.1f}L{x + 5.5:.1f} {y:.1f}L{x:.1f} {y + 5.5:.1f}L{x - 5.5:.1f} {y:.1f}Z"
    return f'<path d="{corners}" fill="var(--oo-paper)" stroke="{colour}" stroke-width="1.8"/>'


def _grid(frame: PictureArea, found: Overoptimisation) -> list[str]:
    parts: list[str] = []
    for value in ticks(frame.low, frame.high, 6, apart=APART):
        y = frame.y(value)
        kind = "zero" if value == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{numeral(value, ".3g")}</text>'
        )
    middle = frame.top + frame.height / 2
    words = f"gain over the {found.start}, in its standard deviations"
    parts.append(
        f'<text class="soft" transform="rotate(-90 16 {middle:.1f})" x="16" y="{middle:.1f}" '
        f'text-anchor="middle">{escape(words)}</text>'
    )
    others = [c for c in found.curves if c.measure != found.proxy and c.shape == "trained" and c.fallen is not None]
    for curve in others[:1]:
        x = frame.x(curve.best.distance)
        parts.append(f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{frame.top + frame.height}"/>')
        words = f"best by {curve.measure}: KL {curve.best.kl:.3g}"
        above = min(frame.top + frame.height, frame.y(0.0)) - 8
        anchor, where = ("end", x - 6) if curve.best.distance > 0.6 * frame.right else ("start", x + 6)
        parts.append(
            f'<text class="soft" x="{where:.1f}" y="{above:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )
    return parts


def _curve(curve: GainCurve, frame: PictureArea, number: int) -> list[str]:
    colour = f"var(--oo-{number})"
    trained = curve.shape == "trained"
    parts = [_line(curve, frame, colour)]
    for point in curve.points:
        x, low, high = frame.x(point.distance), frame.y(point.gain.low), frame.y(point.gain.high)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
            f'stroke="{colour}" stroke-width="1.2" opacity="0.55"/>'
        )
        mark = _mark("trained" if trained else "best of n", x, frame.y(point.gain.estimate), colour)
        parts.append(f"<g>{mark}<title>{escape(_point_title(curve, point))}</title></g>")
    return parts


def _point_title(curve: GainCurve, point: Point) -> str:
    gain = point.gain
    value = f"{gain.estimate:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})"
    return f"{point.name}, {curve.measure}: {value} at a KL of {point.kl:.2f} nats"


def _line(curve: GainCurve, frame: PictureArea, colour: str) -> str:
    """The fitted curve if the fit holds, else a dotted line from point to point."""
    last = max(point.distance for point in curve.points)
    if curve.fit is not None and curve.fit.holds:
        across = np.linspace(0.0, last, SAMPLES)
        values = curve_value(curve.shape, across, curve.fit.a.estimate, curve.fit.b.estimate)
        dash, width = ("", 2.2) if curve.shape == "trained" else ("7 5", 1.8)
    else:
        ordered = sorted(curve.points, key=lambda point: point.distance)
        across = np.array([0.0, *(point.distance for point in ordered)])
        values = np.array([0.0, *(point.gain.estimate for point in ordered)])
        dash, width = "1 5", 1.8
    # A fit may leave the axes between the points that it is fitted to.
    values = np.clip(values, frame.low, frame.high)
    path = "L".join(f"{frame.x(float(d)):.1f} {frame.y(float(v)):.1f}" for d, v in zip(across, values, strict=True))
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"{dashes}/>'


def _labels(curves: Sequence[GainCurve], frame: PictureArea, colours: dict[str, int]) -> list[str]:
    """Each measure's name at the end of its longest curve, shifted if two would overlap."""
    ends: dict[str, Point] = {}
    for curve in curves:
        last = max(curve.points, key=lambda point: point.distance)
        if curve.measure not in ends or last.distance > ends[curve.measure].distance:
            ends[curve.measure] = last
    placed = sorted((frame.y(point.gain.estimate), measure) for measure, point in ends.items())
    parts: list[str] = []
    below = -math.inf
    for y, measure in placed:
        below = max(y, below + LINE_HEIGHT)
        x = min(frame.x(ends[measure].distance) + 12, WIDTH - RIGHT + 8)
        shown = measure if len(measure) <= 17 else f"{measure[:16]}…"
        colour = f"var(--oo-{colours[measure]})"
        parts.append(f'<text class="sum" x="{x:.1f}" y="{below + 4:.1f}" style="fill:{colour}">{escape(shown)}</text>')
    return parts


def _wins(wins: Sequence[tuple[str, float, Interval]], frame: PictureArea) -> list[str]:
    parts = [
        f'<text class="soft" x="{LEFT}" y="{frame.top - 8:.1f}">win rate by people against the start</text>',
        *(
            f'<line class="{"zero" if share == 0.5 else "grid"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
            f'y1="{frame.y(share):.1f}" y2="{frame.y(share):.1f}"/>'
            f'<text class="soft" x="{LEFT - 8}" y="{frame.y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
            for share in (0.0, 0.5, 1.0)
        ),
    ]
    for name, distance, share in wins:
        x, low, high = frame.x(distance), frame.y(share.low), frame.y(share.high)
        title = f"{name}: {share.estimate:.0%} ({share.low:.0%} to {share.high:.0%})"
        parts.append(
            f'<g><line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
            f'stroke="var(--oo-ink)" stroke-width="1.2" opacity="0.55"/>'
            f'<circle cx="{x:.1f}" cy="{frame.y(share.estimate):.1f}" r="4" fill="var(--oo-ink)"/>'
            f"<title>{escape(title)}</title></g>"
        )
    return parts


def _axis(frame: PictureArea, bottom: float) -> list[str]:
    parts: list[str] = []
    for value in ticks(0.0, frame.right, 7, apart=APART):
        x = frame.x(value)
        parts.append(
            f'<text class="soft" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{numeral(value, ".3g")}</text>'
        )
        parts.append(
            f'<text class="soft" x="{x:.1f}" y="{bottom + 34:.1f}" text-anchor="middle" '
            f'opacity="0.75">{value * value:.3g}</text>'
        )
    end = WIDTH - RIGHT + 8
    parts.append(f'<text class="soft" x="{end}" y="{bottom + 18:.1f}">√KL</text>')
    parts.append(f'<text class="soft" x="{end}" y="{bottom + 34:.1f}" opacity="0.75">KL, nats per answer</text>')
    return parts
