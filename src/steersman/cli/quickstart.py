"""`steersman quickstart`: the whole pipeline on the built-in example Harbour, in minutes and without a download."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe

EXAMPLE = "Example: steersman quickstart --out demo, then open demo/report.html"


def quickstart(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for all results. The same command with the same folder resumes, or shows the results again."
        ),
    ] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of data, training and answers.")] = 0,
    fast: Annotated[bool, typer.Option("--fast", help="A small version, for a first look or a test.")] = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Train a tiny model from (simulated) human feedback in minutes: SFT, then two rounds of judgements, reward model,
    PPO and a check. Ends with a table by round, answers before and after, a page, and how to label the third round."""
    from steersman.cli.storyteller import Silent, TerminalPrinter
    from steersman.demo.quickstart import run_quickstart

    story = run_quickstart(out, seed=seed, fast=fast, quiet=json, reporter=Silent() if json else TerminalPrinter())
    if json:
        say(story.as_dict(), as_json=True, lines=[])
