"""A run's metrics as charts: the most important ones with their usual ranges, and all others."""

from collections.abc import Sequence

from steersman.evaluate.curves import Curve, line_chart
from steersman.pages.parts import Figure, Figures
from steersman.reports.charts import CHECKS, HELD_OUT, Chart, charts_of, compared_keys, other_charts, range_of
from steersman.reports.reading import ReadRun
from steersman.watch.health import HEALTHY, Healthy, advice, in_effect


def figures_of(run: ReadRun) -> tuple[Figures, Figures]:
    """The charts of the most important metrics, and the charts of the rest."""
    shown = [figure for chart in charts_of(run.journal) if (figure := _figure(run, chart)) is not None]
    shown += [
        figure
        for name in (CHECKS if run.in_the_loop else ())
        if outside(run, name)
        and (figure := _figure(run, Chart(name.capitalize(), name, "each iteration", {}))) is not None
    ]
    rest = [figure for chart in other_charts(run.journal) if (figure := _figure(run, chart)) is not None]
    return Figures(tuple(shown)), Figures(tuple(rest))


def together(runs: Sequence[ReadRun]) -> Figures:
    """Charts that compare several runs, one chart per metric and one curve per run: held-out metrics, and a few
    others."""
    found: list[Figure] = []
    for key in compared_keys([run.journal for run in runs]):
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
    # A curve with one point is not drawn, so the legend must not list it.
    curves = [
        Curve(name, tuple(points), "faint" if key == chart.key else "dots")
        for name, key in chart.lines().items()
        if len(points := run.curve(key)) > 1
    ]
    healthy = range_of(run.journal, chart.key)
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
