"""`steersman report`: one or several runs as a self-contained HTML page."""

from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe

EXAMPLE = "Example: steersman report runs/ppo, then open runs/ppo/report.html"


def report(
    places: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER...", help="Run folders, evaluation folders, or both.", show_default=False),
    ],
    out: Annotated[str | None, typer.Option(help="The page; FOLDER/report.html, or report.html for several.")] = None,
    microscope: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Prompts to answer again and show token by token (2). 0 loads no model.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[list[str] | None, typer.Option("--prompt", help="A prompt for the microscope, as text.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is no report of Steersman.")] = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Write a self-contained page: a summary, curves with healthy ranges, answers before and after training with marked
    differences, the worst and the most suspicious answers, a token microscope, and the commands to reproduce the
    run."""
    from steersman.assemble.report import write_report

    made = write_report(places, out=out, microscope=microscope, prompts=prompts or [], device=device, force=force)
    say(
        made.as_dict(),
        as_json=json,
        lines=[made.headline, *(f"  {sentence}" for sentence in made.sentences), f"page: {made.out}"],
    )
