"""What the watch over a run of PPO saw: its findings with the answers that show them, the two scorers' gains, and each detector's number
with the range in which it stays silent."""

import math
from collections.abc import Iterator

from steersman.evaluate.curves import Curve, line_chart
from steersman.pages.parts import Figure, Figures, Findings, Folded, Part, Section, Words
from steersman.reports.reading import ReadRun
from steersman.watch.watching import DETECTORS

WATCH = "watch "
"""What the names of its numbers begin with in the journal."""
GAINS = {"the run's scorer": "watch gain", "a held-out scorer": "watch held-out gain"}


def watch_of(run: ReadRun) -> Iterator[Section]:
    """Nothing, if nobody watched."""
    spoke = {finding.where.partition(",")[0] for finding in run.findings}
    told: list[Figure] = []
    silent: list[Figure] = []
    for detector in DETECTORS:
        figure = _figure(run, detector.name, detector.side)
        if figure is not None:
            (told if detector.name in spoke else silent).append(figure)
    gains = _gains(run)
    if not (run.findings or gains or told or silent):
        return
    parts: list[Part] = [Findings(tuple(run.findings)) if run.findings else Words("It looked on and found nothing.")]
    if gains or told:
        parts.append(Figures((*gains, *told)))
    if silent:
        parts.append(Folded(f"the detectors that stayed silent ({len(silent)})", (Figures(tuple(silent)),)))
    note = (
        "Detectors of reward hacking looked on while it trained; each finding names answers that show it. Shaded is where a detector stays "
        "silent."
    )
    yield Section("What the watch saw", "Watch", note, tuple(parts))


def _gains(run: ReadRun) -> list[Figure]:
    """Where the scorer that is optimised rises and a held-out one turns down, the policy has learned to please its scorer."""
    curves = [Curve(name, tuple(run.values(key)), "dots") for name, key in GAINS.items()]
    drawn = [curve for curve in curves if len(curve.points) > 1]
    if len(drawn) < 2:
        return []
    title = "Gain over the reference, in deviations of its answers"
    svg = line_chart(title, drawn, x_name="iteration")
    mine, other = (curve.points for curve in drawn)
    peak, last = max(value for _, value in other), other[-1][1]
    fell = mine[-1][1] > mine[0][1] and peak > 0 and last < 0.75 * peak
    note = "The held-out scorer has lost a quarter of its best gain or more, while the run's own rose." if fell else ""
    return [Figure(title, tuple(curve.name for curve in drawn), svg, note, fell, False)]


def _figure(run: ReadRun, name: str, side: str) -> Figure | None:
    limit = run.recipe.get("watch", {}).get("limits", {}).get(name)
    points = tuple(run.values(WATCH + name))
    band = None
    if isinstance(limit, int | float):
        band = (-math.inf, float(limit)) if side == "above" else (float(limit), math.inf)
    svg = line_chart(name, [Curve(name, points, "faint")], x_name="iteration", band=band)
    if not svg:
        return None
    note = "" if band is None else f"It speaks {side} {limit:g}."
    spoke = any(finding.where.startswith(f"{name},") for finding in run.findings)
    return Figure("KL" if name == "kl" else name.capitalize(), (), svg, note, spoke, band is not None)
