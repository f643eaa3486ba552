"""A run's metrics as charts: the most important ones with their usual ranges, and all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.evaluate.curves import Curve, line_chart
from steersman.pages.parts import Figure, Figures
from steersman.reports.reading import ReadRun
from steersman.watch.health import HEALTHY, Healthy, advice, in_effect

HELD_OUT = "held-out "
NO_PICTURE = (
    "learning rate",
    "tokens per second",
    "seconds",
    "skipped",
    "optimiser steps",
    "answers so far",
    "epoch",
    "answers",
    "rows",
    "tokens",
)
"""Metrics without a chart: speeds, and counters that only go up."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Metrics that are drawn in one chart. `each` is the legend of `key`, drawn faint because it is noisy; `dots` maps
    legends to further keys."""

    title: str
    key: str
    each: str
    dots: Mapping[str, str]


IN_THE_LOOP = (
    Chart(
        "Score of an answer",
        "score",
        "each iteration",
        {"held out": "held-out score", "held out, less the KL penalty": "held-out objective"},
    ),
    Chart(
        "KL to reference, nats per answer",
        "KL to reference",
        "each iteration",
        {"held out": "held-out KL to reference"},
    ),
    Chart("Entropy, nats per token", "entropy", "each iteration", {}),
    Chart("Answer length, tokens", "answer length", "each iteration", {"held out": "held-out answer length"}),
    Chart(
        "Answers that ended with EOS",
        "ended with EOS",
        "each iteration",
        {"held out": "held-out ended with EOS"},
    ),
    Chart("Explained variance of the critic", "explained variance", "each iteration", {}),
    Chart("Clip fraction", "clip fraction", "each iteration", {}),
    Chart("KL to the old policy, nats per token", "KL to old policy", "each iteration", {}),
    Chart("Gradient norm", "gradient norm", "each iteration", {}),
)
CHECKS = ("ratio from 1, first minibatch", "engine mismatch")
"""Metrics that must be near zero. They are drawn only if they are not."""


def figures_of(run: ReadRun) -> tuple[Figures, Figures]:
    """The charts of the most important metrics, and the charts of the rest."""
    charts = IN_THE_LOOP if run.in_the_loop else _charts(run)
    shown = [figure for chart in charts if (figure := _figure(run, chart)) is not None]
    shown += [
        figure
        for name in (CHECKS if run.in_the_loop else ())
        if outside(run, name)
        and (figure := _figure(run, Chart(name.capitalize(), name, "each iteration", {}))) is not None
    ]
    drawn = {key for chart in charts for key in (chart.key, *chart.dots.values())}
    rest = [
        figure
        for key in _keys(run)
        if key not in drawn and (figure := _figure(run, Chart(key, key, "each step", {}))) is not None
    ]
    return Figures(tuple(shown)), Figures(tuple(rest))


def together(runs: Sequence[ReadRun]) -> Figures:
    """Charts that compare several runs, one chart per metric and one curve per run: held-out metrics, and a few
    others."""
    found: list[Figure] = []
    keys = list(dict.fromkeys(key for run in runs for key in _keys(run)))
    wanted = [key for key in keys if key.startswith(HELD_OUT)] + [
        key for key in ("score", "loss", "KL to reference", "entropy") if key in keys
    ]
    for key in wanted:
        having = [run for run in runs if len(run.curve(key)) > 1]
        if len(having) < 2:
            continue
        style = "dots" if key.startswith(HELD_OUT) else "faint"
        curves = [Curve(run.name, tuple(run.curve(key)), style) for run in having]
        healthy = HEALTHY.get(key.removeprefix(HELD_OUT))
        svg = line_chart(key, curves, x_name="step", band=None if healthy is None else (healthy.low, healthy.high))
        found.append(Figure(key, tuple(run.name for run in having), svg, "", False, healthy is not None))
    return Figures(tuple(found))


def outside(run: ReadRun, name: str) -> list[tuple[float, float]]:
    """The (step, value) pairs at which a metric was outside its healthy range."""
    healthy = HEALTHY.get(name)
    if healthy is None:
        return []
    return [(step, value) for step, value in run.values(name) if _why(healthy, value)]


def warnings_of(run: ReadRun) -> list[tuple[str, str]]:
    """For each metric that left its healthy range: its name, and a sentence with when and what it usually means."""
    if not run.in_the_loop:
        return []
    return [(name, _outside_words(run, name, found)) for name in HEALTHY if (found := outside(run, name))]


def _outside_words(run: ReadRun, name: str, found: Sequence[tuple[float, float]]) -> str:
    healthy = HEALTHY[name]
    step, value = max(found, key=lambda one: max(one[1] - healthy.high, healthy.low - one[1]))
    bound = f"above {healthy.low:g}" if value < healthy.low else f"below {healthy.high:g}"
    when = f"at iteration {step:.0f}" if len(found) == 1 else f"at {len(found)} iterations, worst at {step:.0f}"
    return (
        f"{name} was {value:.4g} {when} (usually {bound}): {advice(_why(healthy, value), set(in_effect(run.recipe)))}."
    )


def _why(healthy: Healthy, value: float) -> str:
    return healthy.below if value < healthy.low else healthy.above if value > healthy.high else ""


def _figure(run: ReadRun, chart: Chart) -> Figure | None:
    lines = {chart.each: (chart.key, "faint"), **{name: (key, "dots") for name, key in chart.dots.items()}}
    # A curve with one point is not drawn, so the legend must not list it.
    curves = [
        Curve(name, tuple(points), "dots" if style == "dots" else "faint")
        for name, (key, style) in lines.items()
        if len(points := run.curve(key)) > 1
    ]
    healthy = HEALTHY.get(chart.key) if run.in_the_loop else None
    band = None if healthy is None else (healthy.low, healthy.high)
    svg = line_chart(chart.title, curves, x_name="iteration" if run.in_the_loop else "step", band=band)
    if not svg:
        return None
    left = outside(run, chart.key) if healthy is not None else []
    note = _outside_words(run, chart.key, left) if left else ""
    return Figure(
        chart.title,
        tuple(curve.name for curve in curves),
        svg,
        note[:1].upper() + note[1:],
        bool(left),
        band is not None,
    )


def _charts(run: ReadRun) -> tuple[Chart, ...]:
    """The charts of runs without KL to a reference (SFT, reward models and others): every metric that was also measured
    on held-out data, and the loss."""
    keys = _keys(run)
    pairs = [key.removeprefix(HELD_OUT) for key in keys if key.startswith(HELD_OUT)]
    # With several loss terms, training and held-out losses have different names.
    own = {name: name if name in keys else f"loss {name}" for name in pairs}
    charts = [
        Chart(name.capitalize(), key, "each step", {"held out": HELD_OUT + name})
        for name, key in own.items()
        if not (name != "loss" and key == "loss")
    ]
    if "loss" not in pairs and "loss" in keys:
        charts.insert(0, Chart("Loss", "loss", "each step", {}))
    return tuple(charts)


def _keys(run: ReadRun) -> list[str]:
    names = dict.fromkeys(name for row in run.rows for name, value in row.items() if isinstance(value, int | float))
    left_out = {"step", "time", *NO_PICTURE}
    return [
        name
        for name in names
        if name not in left_out and not name.startswith(("seconds", "watch ")) and not name.endswith("per second")
    ]
