"""`steersman sample`: sample several answers per prompt, for people or scorers to judge."""

from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.command import Json, Words, gather, say
from steersman.runs.commands import command_line
from steersman.settings.sample import SampleSettings

if TYPE_CHECKING:
    from steersman.assemble.sample import SampleResult

EXAMPLE = (
    "Example: steersman sample harbour:prompts --model runs/sft --answers 4 --temperature 0.7 --temperature 1.0 "
    "--out answers.jsonl"
)


def sample(
    prompts: Annotated[
        str, typer.Argument(help="Prompts, or records with prompts: a file, a folder, a hub id or a named source.")
    ],
    words: Words = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A folder, a run, a hub id or harbour:base. Repeatable: several models answer in turn."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="The file to write (.jsonl). The same command continues where it stopped.")
    ] = None,
    answers: Annotated[int | None, typer.Option(help="Answers per prompt, over all models and temperatures.")] = None,
    temperature: Annotated[
        list[float] | None, typer.Option(help="0 is greedy decoding. Repeatable: several are used in turn.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Maximum length of an answer, in tokens.")] = None,
    distinct: Annotated[bool, typer.Option("--distinct", help="Leave out duplicate answers to a prompt.")] = False,
    limit: Annotated[int | None, typer.Option(help="Use at most this many records of the source.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Sample answers to prompts from one or several models, for `label`, `score` and `evaluate`. Each answer is saved
    with its model, sampling settings and seed."""
    options = {
        "prompts.source": prompts,
        "prompts.limit": limit,
        "model": model[0] if model and len(model) == 1 else model or None,
        "out": out,
        "answers": answers,
        "temperature": temperature or None,
        "max_new_tokens": max_new_tokens,
        "distinct": distinct or None,
        "seed": seed,
        "device": device,
    }
    settings = gather(SampleSettings, words, options)
    from steersman.assemble.sample import run_sample

    result = run_sample(settings, quiet=json)
    say(result.as_dict(), as_json=json, lines=lines_of_sample(result))


def lines_of_sample(result: "SampleResult") -> list[str]:
    lines = [f"{result.out}: {result.answers:,} answers to {result.prompts:,} prompts"]
    if result.kept:
        lines.append(f"  {result.kept:,} prompts had been answered before")
    if result.unfinished:
        lines.append(f"  {result.unfinished:,} answers were cut off at the longest length (max_new_tokens)")
    lines += [f"  {number:,} × {reason}" for reason, number in result.left_out.items()]
    lines.append(f"  next: {command_line('label', result.out)}")
    return lines
