"""`steersman simulate`: judgements by simulated annotators."""

from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.command import Json, Words, gather, say
from steersman.runs.commands import command_line
from steersman.settings.simulate import SimulateSettings

if TYPE_CHECKING:
    from steersman.assemble.simulate import SimulateResult

EXAMPLE = "Example: steersman simulate answers.jsonl --out labels.jsonl --judgements 500"


def simulate(
    data: Annotated[str, typer.Argument(help="Answers, as `steersman sample` writes them: a file or a source.")],
    words: Words = None,
    people: Annotated[
        str | None, typer.Option(help="harbour (the example's annotators), or a scorer such as file.py:function.")
    ] = None,
    judgements: Annotated[int | None, typer.Option(help="Stop at this many; one for each pair if not given.")] = None,
    out: Annotated[str | None, typer.Option(help="The file to write (.jsonl or .jsonl.gz).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same judgements.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there already.")] = False,
    json: Json = False,
) -> None:
    """Let simulated annotators judge answers, in place of people: to try a recipe out before anybody's time is spent.
    Harbour's annotators judge Harbour's answers; a Python function or a reward model judges any."""
    options = {
        "data.source": data,
        "people": people,
        "judgements": judgements,
        "out": out,
        "seed": seed,
        "force": force or None,
    }
    settings = gather(SimulateSettings, words, options)
    from steersman.assemble.simulate import run_simulate

    result = run_simulate(settings, quiet=json)
    following = command_line("data", "inspect", result.out)
    if result.model:
        runs = f"{result.out.removesuffix('.gz').removesuffix('.jsonl')}-reward"
        following = command_line("reward", "--model", result.model, "--data", result.out, "--out", runs)
    say(result.as_dict(), as_json=json, lines=[*_lines_of(result), f"  next: {following}"])


def _lines_of(result: "SimulateResult") -> list[str]:
    lines = [f"{result.out}: {result.judgements:,} judgements of answers to {result.prompts:,} prompts"]
    lines.append(f"  {result.ties:,} ties")
    lines += [f"  {name}: {count:,}" for name, count in result.annotators.items()]
    return lines
