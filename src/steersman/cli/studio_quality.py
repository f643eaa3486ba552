"""`steersman studio quality`: how good a project's labels are; `studio choose`: which pairs people are asked about."""

from typing import Annotated

import typer

from steersman.cli.command import Json, loads_models, say
from steersman.cli.recipes import Recipe
from steersman.cli.studio import Name, Round, Store
from steersman.cli.studio_server import app


@app.command(epilog="Example: steersman studio quality helpful")
def quality(project: Name, store: Store = None, recipe: Recipe = None, json: Json = False) -> None:
    """Show how good a project's labels are: agreement, each annotator, biases, time, and the doubtful items."""
    from steersman.quality.figures import measure_quality
    from steersman.quality.words import lines_of
    from steersman.store.database import open_store
    from steersman.store.projects import find_project

    with open_store(store) as database:
        found = measure_quality(find_project(database, project))
    say(found.as_dict(), as_json=json, lines=lines_of(found))


@app.command(epilog="Example: steersman studio choose helpful answers.jsonl --scorer runs/reward --count 200")
@loads_models
def choose(
    project: Name,
    source: Annotated[
        str, typer.Argument(help="Answers: a file or a source. Default: the answers in the project without a label.")
    ] = "",
    scorer: Annotated[
        list[str] | None,
        typer.Option(help="A reward model: an ensemble, or several of them.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pairs are asked.")] = 100,
    by: Annotated[str, typer.Option(help="disagreement, information, or random.")] = "disagreement",
    random: Annotated[float, typer.Option(min=0, max=1, help="The share that is kept random, to measure with.")] = 0.2,
    per_prompt: Annotated[int, typer.Option(min=1, help="The most pairs of one prompt, beside the random ones.")] = 2,
    overlap: Annotated[int, typer.Option(min=1, max=1000, help="How many people judge each pair.")] = 1,
    round: Round = "",
    seed: Annotated[int, typer.Option(help="Of the random part.")] = 0,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Choose which pairs people are asked about: those that reward models disagree about, beside a random part."""
    from steersman.assemble.choose import Choosing, run_choose

    choosing = Choosing(source, count, by, random, per_prompt, overlap, round, seed)
    done = run_choose(store, project, scorer or [], choosing, quiet=json)
    lines = [
        f"{project}: {done.random + done.chosen:,} pairs of {done.candidates:,} are new tasks; "
        f"{done.known:,} were tasks already",
        f"  {done.random:,} at random, to measure with: studio:{project}?choice=random",
    ]
    if done.chosen:
        lines.append(
            f"  {done.chosen:,} by {by} of {done.scorers} reward models, from {done.highest:.2f} to {done.lowest:.2f}"
        )
    say(done.as_dict(), as_json=json, lines=lines)
