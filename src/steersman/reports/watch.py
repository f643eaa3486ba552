"""The watch of a PPO run as a section of a report: findings with example answers, the scorers' gains, and the value of
each detector with its healthy range."""

import math
from collections.abc import Iterator

from steersman.evaluate.curves import Curve, line_chart
from steersman.pages.parts import Figure, Figures, Findings, Folded, Part, Section, Words
from steersman.reports.reading import ReadRun
from steersman.watch.watching import DETECTORS

WATCH = "watch "
"""Prefix of the watch's numbers in the journal."""
GAINS = {"the run's scorer": "watch gain", "a held-out scorer": "watch held-out gain"}


def watch_of(run: ReadRun) -> Iterator[Section]:
    """The section; none if the run was not watched."""
    triggered = {finding.where.partition(",")[0] for finding in run.findings}
    loud: list[Figure] = []
    silent: list[Figure] = []
    # of a detector that a package brought, which need not be installed here, no side is known
    others = dict.fromkeys(run.recipe.get("watch", {}).get("extensions", {}))
    for name, side in ({detector.name: detector.side for detector in DETECTORS} | others).items():
        figure = _figure(run, name, side)
        if figure is not None:
            (loud if name in triggered else silent).append(figure)
    gains = _gains(run)
    if not (run.findings or gains or loud or silent):
        return
    parts: list[Part] = [Findings(tuple(run.findings)) if run.findings else Words("The watch has no findings.")]
    if gains or loud:
        parts.append(Figures((*gains, *loud)))
    if silent:
        parts.append(Folded(f"detectors without findings ({len(silent)})", (Figures(tuple(silent)),)))
    note = (
        "Detectors checked for reward hacking during training; each finding lists answers as evidence. The shaded "
        "range is within the detector's limit."
    )
    yield Section("Findings of the watch", "Watch", note, tuple(parts))


def _gains(run: ReadRun) -> list[Figure]:
    """The gains of the run's scorer and of the held-out scorer. If only the former rises, the policy hacks its
    reward."""
    curves = [Curve(name, tuple(run.values(key)), "dots") for name, key in GAINS.items()]
    drawn = [curve for curve in curves if len(curve.points) > 1]
    if len(drawn) < 2:
        return []
    title = "Gain over the reference, in standard deviations of its scores"
    svg = line_chart(title, drawn, x_name="iteration")
    mine, other = (curve.points for curve in drawn)
    peak, last = max(value for _, value in other), other[-1][1]
    fell = mine[-1][1] > mine[0][1] and peak > 0 and last < 0.75 * peak
    note = "The held-out score lost a quarter or more of its best gain, while the run's own score rose." if fell else ""
    return [Figure(title, tuple(curve.name for curve in drawn), svg, note, fell, False)]


def _figure(run: ReadRun, name: str, side: str | None) -> Figure | None:
    limit = run.recipe.get("watch", {}).get("limits", {}).get(name) if side is not None else None
    points = tuple(run.values(WATCH + name))
    band = None
    if isinstance(limit, int | float):
        band = (-math.inf, float(limit)) if side == "above" else (float(limit), math.inf)
    svg = line_chart(name, [Curve(name, points, "faint")], x_name="iteration", band=band)
    if not svg:
        return None
    note = "" if band is None else f"A finding if {side} {limit:g}."
    triggered = any(finding.where.startswith(f"{name},") for finding in run.findings)
    return Figure("KL" if name == "kl" else name.capitalize(), (), svg, note, triggered, band is not None)
