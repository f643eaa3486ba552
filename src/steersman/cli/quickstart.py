"""`steersman quickstart`: the whole story on the embedded example, in minutes and without a download."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say

EXAMPLE = "Example: steersman quickstart --out demo, then open demo/report.html"


def quickstart(
    out: Annotated[
        Path,
        typer.Option(help="Folder for everything. The same command on the same folder goes on, or tells it again."),
    ] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another story: other data, other answers.")] = 0,
    fast: Annotated[bool, typer.Option("--fast", help="A small version, for a first look or a test.")] = False,
    json: Json = False,
) -> None:
    """Teach a tiny model to answer better, on two cores in minutes: demonstrations, a reward model from people's judgements,
    and what was really gained. Ends with a table, answers before and after, and a page."""
    from steersman.cli.storyteller import Silent, Terminal
    from steersman.demo.quickstart import run_quickstart

    story = run_quickstart(out, seed=seed, fast=fast, quiet=json, teller=Silent() if json else Terminal())
    if json:
        say(story.as_dict(), as_json=True, lines=[])
