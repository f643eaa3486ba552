"""An evaluation as a terminal table: a row per measure, a column per model, each number with its interval.

Numbers significantly better than the baseline are green, significantly worse ones red.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from steersman import printing
from steersman.evaluate.best_of import BestOf
from steersman.evaluate.contests import Rating, WinRate
from steersman.evaluate.evaluation import Evaluation
from steersman.evaluate.figures import MetricValue, by_measure
from steersman.evaluate.overoptimisation import Overoptimisation, lines_of
from steersman.maths.statistics import Interval

WITH_CHANGES = ("score", "toxicity", "knowledge")
"""Groups whose changes get a table; the others are in results.json."""
COLOURS = {"better": "green", "worse": "red", "other": "bold", "unclear": "", "": ""}


def show_results(found: Evaluation) -> None:
    """Print the evaluation to the terminal."""
    # Wide enough for every model even if the output is no terminal.
    console = printing.console()
    console.width = max(console.width, 34 + 28 * len(found.models))
    summary = f"{found.prompts:,} prompts, {found.answers} answers each; {found.confidence:.0%} intervals over prompts"
    console.print(f"{escape(found.out)}: {summary}")
    if found.overoptimisation is not None:
        _show_curves(console, found, found.overoptimisation)
        return
    console.print(table_of(found.figures, found.models, found.baseline, found.wins, found.ratings))
    changes = changes_of(found.figures, found.models, found.baseline)
    if changes is not None:
        console.print(changes)
    frontier = best_of_table(found.best_of_n, found.figures)
    if frontier is not None:
        console.print(frontier)
    if len(found.models) > 1:
        console.print(
            f"[green]green[/green]: significantly better than {found.baseline}; [red]red[/red]: significantly worse"
        )
    console.print(f"everything: {escape(found.out)}/results.json, every answer: {escape(found.out)}/answers.jsonl")


def _show_curves(console: Console, found: Evaluation, curves: Overoptimisation) -> None:
    """Print a run's checkpoints: KL from the initial model, gains by each scorer, and the fitted curves."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    measures = list(dict.fromkeys(curve.measure for curve in curves.curves))
    for name in ("gain, in deviations of the start", "KL in nats", *measures):
        table.add_column(escape(name), justify="left" if name.startswith("gain") else "right")
    for walk in dict.fromkeys(curve.walk for curve in curves.curves):
        table.add_row(f"[bold]{escape(walk)}[/bold]")
        of_walk = {curve.measure: curve.points for curve in curves.curves if curve.walk == walk}
        for i, point in enumerate(next(iter(of_walk.values()))):
            gains = [number(of_walk[name][i].gain, "number", sign="+") for name in measures]
            table.add_row(f"  {escape(point.name)}", f"{point.kl:.2f}", *gains)
    console.print(table)
    for line in lines_of(curves):
        console.print(escape(line))
    console.print(
        f"the picture: {escape(found.out)}/overoptimisation.svg, everything: {escape(found.out)}/results.json"
    )


def table_of(
    figures: Sequence[MetricValue],
    models: Sequence[str],
    baseline: str,
    wins: Sequence[WinRate],
    ratings: Sequence[Rating],
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in models:
        table.add_column(
            escape(name) + (" (baseline)" if name == baseline and len(models) > 1 else ""), justify="right"
        )
    group = ""
    for of_measure in by_measure(list(figures)).values():
        measure = of_measure[0].measure
        if measure.group != group:
            group = measure.group
            table.add_row(f"[bold]{group}[/bold]")
        cells = {figure.model: _cell(figure) for figure in of_measure}
        table.add_row(f"  {escape(measure.name)}", *(cells.get(name, "–") for name in models))
    _contests(table, models, baseline, wins, ratings)
    return table


def changes_of(figures: Sequence[MetricValue], models: Sequence[str], baseline: str) -> Table | None:
    """Paired changes from the baseline: their intervals are much narrower than those of the two numbers."""
    shown = {key: of for key, of in by_measure(list(figures)).items() if of[0].measure.group in WITH_CHANGES}
    others = [name for name in models if name != baseline]
    if not others or not shown:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"change from {escape(baseline)}, paired")
    for name in others:
        table.add_column(escape(name), justify="right")
    for key, of_measure in shown.items():
        cells = {figure.model: _change(figure) for figure in of_measure}
        table.add_row(f"  {escape(key.replace('/', ', '))}", *(cells.get(name, "–") for name in others))
    return table


def _change(figure: MetricValue) -> str:
    if figure.change is None:
        return "–"
    words, colour = number(figure.change, figure.measure.unit, sign="+"), COLOURS[figure.verdict]
    return f"[{colour}]{words}[/{colour}]" if colour else words


def _contests(
    table: Table, models: Sequence[str], baseline: str, wins: Sequence[WinRate], ratings: Sequence[Rating]
) -> None:
    if wins:
        table.add_row(f"[bold]wins against {escape(baseline)}[/bold]")
    for by in dict.fromkeys(win.by for win in wins):
        cells = {win.model: _win(win) for win in wins if win.by == by}
        table.add_row(f"  by {escape(by)}", *(cells.get(name, "–") for name in models))
    if ratings:
        table.add_row("[bold]Bradley-Terry rating[/bold]")
    for by in dict.fromkeys(rating.by for rating in ratings):
        cells = {rating.model: number(rating.rating, "number") for rating in ratings if rating.by == by}
        table.add_row(f"  by {escape(by)}", *(cells.get(name, "–") for name in models))


def best_of_table(found: Sequence[BestOf], figures: Sequence[MetricValue]) -> Table | None:
    """Score against KL: of best-of-n, and of each model."""
    if not found:
        return None
    golds = list(dict.fromkeys(one.gold for one in found))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("score against KL", "KL in nats", *golds):
        table.add_column(escape(name), justify="left" if name == "score against KL" else "right")
    measured = {(f.model, f.measure.group, f.measure.name): f.value for f in figures}
    for model in dict.fromkeys(one.model for one in found):
        own = measured.get((model, "distance", "KL"))
        scores = [measured.get((model, "score", gold)) for gold in golds]
        table.add_row(
            escape(model),
            "0" if own is None else number(own, "nats"),
            *("–" if s is None else number(s, "number") for s in scores),
        )
        for n in dict.fromkeys(one.n for one in found if one.model == model and one.n > 1):
            row = {one.gold: one for one in found if one.model == model and one.n == n}
            first = next(iter(row.values()))
            cells = [number(row[gold].score, "number") for gold in golds]
            table.add_row(f"  best of {n} by {escape(first.proxy)}", f"+ {first.kl_at_most:.2f} at most", *cells)
    return table


def number(value: Interval, unit: str, sign: str = "") -> str:
    """A number with its interval, formatted for its unit; with `sign` "+" positive numbers get a plus sign."""
    places = 1 if unit == "tokens" or unit.endswith("share") else 2
    scale, mark = (100, "%") if unit.endswith("share") else (1, "")
    estimate, low, high = (f"{scale * bound:{sign}.{places}f}" for bound in value)
    return f"{estimate}{mark} ({low} to {high})"


def _cell(figure: MetricValue) -> str:
    words, colour = number(figure.value, figure.measure.unit), COLOURS[figure.verdict]
    return f"[{colour}]{words}[/{colour}]" if colour else words


def _win(win: WinRate) -> str:
    colour = "green" if win.rate.low > 0.5 else "red" if win.rate.high < 0.5 else ""
    words = number(win.rate, "share")
    return f"[{colour}]{words}[/{colour}]" if colour else words
