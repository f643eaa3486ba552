"""`steersman runs list | show`: the state of runs, read from their files alone."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import printing
from steersman.cli.command import Json, say
from steersman.cli.durations import duration
from steersman.cli.recipes import Recipe

app = typer.Typer(no_args_is_help=True, help="List runs, or show one.")


@app.command("list", epilog="Example: steersman runs list runs")
def list_(
    root: Annotated[Path, typer.Argument(help="The folder that holds run folders.")] = Path("runs"),
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """List the runs in a folder: kind, state, steps, last metrics, start and duration."""
    from steersman.runs.listing import list_runs

    found = list_runs(root)
    if json:
        return say({"runs": [_plain(run) for run in found]}, as_json=True, lines=[])
    if not found:
        printing.say(f"no runs in {root}; create one with a command such as: steersman sft --out {root}/sft …")
        return None
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("run", "kind", "state", "step", "loss", "held-out", "began", "time"):
        table.add_column(column, justify="right" if column in ("step", "loss", "held-out", "time") else "left")
    for run in found:
        table.add_row(
            run.name,
            run.kind,
            run.state,
            str(run.step),
            _number(run.last.get("loss")),
            _number(run.last.get("held-out loss")),
            run.started[:16].replace("T", " "),
            duration(run.seconds),
        )
    printing.console().print(table)
    return None


@app.command("show", epilog="Example: steersman runs show runs/sft")
def show(
    path: Annotated[Path, typer.Argument(help="A run folder.")],
    tail: Annotated[int, typer.Option(min=1, help="How many of the journal's last rows to show.")] = 5,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Show one run: its state, last metrics, problems, and the end of its journal."""
    from steersman.runs.listing import show_run

    run, rows = show_run(path)
    if json:
        return say({**_plain(run), "rows": rows[-tail:]}, as_json=True, lines=[])
    printing.say(
        f"{run.name}: {run.kind}, {run.state} at step {run.step}, began {run.started}, {duration(run.seconds)}"
    )
    for problem in run.problems:
        printing.say(f"  problem: {problem}")
    for name, value in run.last.items():
        printing.say(f"  {name:<24} {_number(value)}")
    printing.say(f"the last {min(tail, len(rows))} rows of {path / 'journal.jsonl'}:")
    for row in rows[-tail:]:
        numbers = ", ".join(f"{k} {_number(v)}" for k, v in row.items() if k not in ("step", "time") and v is not None)
        printing.say(f"  step {row['step']}: {numbers}")
    return None


def _plain(run: Any) -> dict[str, Any]:
    return {**asdict(run), "path": str(run.path)}


def _number(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else "–" if value is None else str(value)
