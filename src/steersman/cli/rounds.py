"""`steersman rounds`: run a recipe of stages, see how it stands, and why a stage would run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.assemble.round_stages import find_stage
from steersman.cli import round_decisions
from steersman.cli.command import Json, say
from steersman.cli.durations import duration
from steersman.errors import Preempted
from steersman.printing import tell
from steersman.rounds.by_round import lines_by_round, rows_by_round
from steersman.rounds.clean import clean as clean_graph
from steersman.rounds.clean import unused
from steersman.rounds.graph import Graph
from steersman.rounds.launch import run_here
from steersman.rounds.progress import StageProgress, differences_of, progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import GraphResult, Manner, run_graph
from steersman.rounds.tables import name_of
from steersman.runs.commands import command_line
from steersman.runs.lock import holder_of

app = typer.Typer(
    no_args_is_help=True, help="Run a recipe of stages: each once, and again only if what it reads changes."
)

round_decisions.add_to(app)

Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A TOML file with [stages.NAME] tables, or a shipped one.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STAGE.SETTING=VALUE]...", help="Settings by stage, out=FOLDER, or seed=N.", show_default=False
    ),
]


EXPLAINED = {"done": "done", "goes on": "would go on", "to run": "would run"}


def _graph(recipe: str, overrides: list[str] | None) -> Graph:
    return read_graph(recipe, overrides or [], find_stage)


def run_recipe(
    recipe: str,
    overrides: list[str],
    *,
    jobs: int,
    quiet: bool,
    once: bool = False,
    again: tuple[str, ...] = ("rounds", "run"),
) -> GraphResult:
    """Run a recipe's stages, telling of each. `again` is the command that goes on after a stop."""

    def report(moment: str, one: StageProgress) -> None:
        if not quiet:
            tell(_line_of(moment, one))

    try:
        manner = Manner(jobs=jobs, quiet=quiet, once=once, report=report)
        return run_graph(_graph(recipe, overrides), manner, again=lambda: _graph(recipe, overrides))
    except Preempted as stopped:
        words = command_line(*again, recipe, *overrides, *(["--once"] if once else []))
        raise Preempted(f"{stopped}\n  next: {words}") from stopped


@app.command(epilog="Example: steersman rounds run recipe.toml")
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    jobs: Annotated[int, typer.Option(min=1, help="Stages at once, each in a process (launch=subprocess).")] = 1,
    once: Annotated[
        bool, typer.Option("--once", help="Do not wait for people: end with code 75 where labels are missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Run all stages that are not done. The same command goes on after a stop or a kill, and does nothing twice."""
    result = run_recipe(recipe, overrides or [], jobs=jobs, quiet=json, once=once)
    graph = result.graph
    led_to = None if graph.rounds is None else name_of("promote", graph.rounds.planned)
    last = list(result.outputs.values())[-1] if led_to is None else result.outputs[led_to]
    lines = [f"{graph.name}: {len(result.ran)} of {len(graph.stages)} stages ran; all are done", f"  last: {last}"]
    by_round = rows_by_round(graph, progress_of(graph)) if graph.rounds is not None else []
    lines += lines_by_round(by_round)
    if graph.rounds is not None:
        why = graph.rounds.stopped or f"so many rounds were asked for (rounds.count={graph.rounds.settings.count})"
        lines.append(f"the rounds end after round {graph.rounds.planned}: {why}")
    if Path(last).is_dir():
        lines.append(f"  next: {command_line(*_next(graph, last))}")
    plain = {"name": graph.name, "ran": list(result.ran), "outputs": dict(result.outputs)}
    say({**plain, "rounds": [row.as_dict() for row in by_round]}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman rounds status recipe.toml")
def status(recipe: Recipe, overrides: Overrides = None, json: Json = False) -> None:
    """Show each stage: done, stopped, or to run, what it reads, how long it took, and where its output is."""
    graph = _graph(recipe, overrides)
    found = progress_of(graph)
    running = holder_of(graph.out) is not None
    rows = [_row(one, running) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{graph.name} in {graph.out}"]
    lines += [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows
    ]
    not_needed = {} if graph.rounds is None else dict(graph.rounds.not_needed)
    lines += [f"  {name}  not needed: {why}" for name, why in not_needed.items()]
    by_round = rows_by_round(graph, found)
    lines += [*lines_by_round(by_round), _left(found)]
    stopped = "" if graph.rounds is None else graph.rounds.stopped
    plain = {"name": graph.name, "out": str(graph.out), "stages": [_plain(one) for one in found]}
    plain |= {"not_needed": not_needed, "stopped": stopped, "rounds": [row.as_dict() for row in by_round]}
    say(plain, as_json=json, lines=lines)


@app.command(epilog="Example: steersman rounds explain recipe.toml ppo.kl.beta=0.1")
def explain(recipe: Recipe, overrides: Overrides = None, json: Json = False) -> None:
    """Say why each stage would run, and which are done. Nothing runs."""
    graph = _graph(recipe, overrides)
    found = progress_of(graph)
    lines: list[str] = []
    for one in found:
        lines.append(f"{one.name}: {EXPLAINED[one.standing]}")
        lines += [f"  {reason}" for reason in one.reasons]
    not_needed = {} if graph.rounds is None else dict(graph.rounds.not_needed)
    lines += [f"{name}: not needed ({why})" for name, why in not_needed.items()]
    say({"stages": [_plain(one) for one in found], "not_needed": not_needed}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman rounds diff recipe.toml other.toml")
def diff(
    recipe: Recipe,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another recipe of stages.")],
    json: Json = False,
) -> None:
    """Show how the stages of two recipes differ: settings, inputs, and stages that only one of them has."""
    one, two = _graph(recipe, None), _graph(other, None)
    found = differences_of(one, two)
    lines = [line for name, said in found.items() for line in (f"{name}:", *(f"  {each}" for each in said))]
    say({"stages": found}, as_json=json, lines=lines or ["no stage differs"])


@app.command(epilog="Example: steersman rounds clean recipe.toml --yes")
def clean(
    recipe: Recipe,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, the outputs are only listed.")] = False,
    json: Json = False,
) -> None:
    """List, or delete, outputs of earlier settings that the recipe does not use any more."""
    graph = _graph(recipe, overrides)
    found = clean_graph(graph) if yes else unused(graph)
    size = sum(one.size for one in found)
    lines = [f"{'deleted' if yes else 'unused'}: {one.path} ({one.size / 1e6:.1f} MB)" for one in found]
    lines.append(f"{len(found)} outputs, {size / 1e6:.1f} MB")
    if found and not yes:
        lines.append(f"  next: {command_line('rounds', 'clean', recipe, *(overrides or []), '--yes')}")
    say({"deleted": yes, "outputs": [str(one.path) for one in found], "bytes": size}, as_json=json, lines=lines)


@app.command(hidden=True)
def stage(
    recipe: Recipe,
    name: str,
    overrides: Overrides = None,
    once: Annotated[bool, typer.Option("--once")] = False,
) -> None:
    """Run one stage in this process: what `launch=subprocess` and torchrun start."""
    graph = _graph(recipe, overrides)
    outputs = {one.name: str(one.output) for one in progress_of(graph)}
    run_here(graph[name], graph[name].settings(outputs, outputs[name], once=once), quiet=False)


def _line_of(moment: str, one: StageProgress) -> str:
    if moment == "starts":
        return f"{one.name}: {one.stage.command.command} → {one.output} ({'; '.join(one.reasons)})"
    if moment == "refused":
        why = f": {one.record.why}" if one.record is not None else ""
        return f"{one.name}: refused{why}; more labels are asked for"
    return f"{one.name}: done{'' if moment == 'finished' else ' before'}"


def _next(graph: Graph, last: str) -> tuple[str, ...]:
    return ("report", last) if graph.rounds is None else ("chat", last)


def _row(one: StageProgress, running: bool) -> tuple[str, str, str, str, str]:
    state = one.record.state if one.record is not None and one.standing != "to run" else one.standing
    words = {"begun": "running" if running else "killed", "finished": "done"}
    took = "" if one.seconds is None else duration(one.seconds)
    reads = f"reads {', '.join(one.stage.needs)}" if one.stage.needs else ""
    return (one.name, words.get(state, state), took, reads, str(one.output) if one.standing != "to run" else "")


def _left(found: list[StageProgress]) -> str:
    left = [one for one in found if one.standing != "done"]
    if not left:
        return "all stages are done"
    known = [one.seconds for one in left if one.seconds is not None]
    time = f"; about {duration(sum(known))} for {len(known)} of them, by earlier times" if known else ""
    return f"{len(left)} of {len(found)} stages are left{time}"


def _plain(one: StageProgress) -> dict[str, Any]:
    return {
        "name": one.name,
        "command": one.stage.command.command,
        "hash": one.identity.hash,
        "standing": one.standing,
        "reasons": list(one.reasons),
        "needs": list(one.stage.needs),
        "output": str(one.output),
        "seconds": one.seconds,
    }
