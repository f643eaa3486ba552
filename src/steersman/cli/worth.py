"""`steersman worth`: what the labels of a reward model are worth."""

from typing import Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, Words, gather, say
from steersman.runs.commands import command_line
from steersman.settings.worth import WorthSettings

EXAMPLE = "Example: steersman worth runs/reward"


def worth(
    run: Annotated[str, typer.Argument(help="The finished run of a reward model, such as runs/reward.")],
    words: Words = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Measure annotators by training without each of them: slow, and exact.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(help="The folder of the result; `worth` in the run's folder if not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier result.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Which labels and annotators moved a reward model and whether they helped, where it and people disagree, and how
    many more labels are worth asking for. Trains reward models on parts of the labels for a learning curve (six, which
    together take about as long as the run and a half; curve.repeats=0 for none)."""
    options = {"run": run, "retrain": retrain or None, "out": out, "force": force or None, "device": device}
    settings = gather(WorthSettings, words, options)
    from steersman.assemble.worth.run import run_worth
    from steersman.evaluate.label_worth_words import lines_of

    result = run_worth(settings, quiet=json)
    if json:
        return say(result.as_dict(), as_json=True, lines=[])
    shown = [*lines_of(result.worth), "", f"written to {result.out}", f"  next: {command_line('report', run)}"]
    return printing.say("\n".join(shown))
