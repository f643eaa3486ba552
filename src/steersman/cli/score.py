"""`steersman score`: score every answer of a file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, Words, gather, say
from steersman.settings.score import ScoreSettings

if TYPE_CHECKING:
    from steersman.assemble.score import ScoreResult

EXAMPLE = "Example: steersman score answers.jsonl --scorer runs/reward --out scored.jsonl"


def score(
    data: Annotated[
        str,
        typer.Argument(help="Answers, demonstrations, comparisons, rankings or labels: a file, a hub id or a source."),
    ],
    words: Words = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="A reward model, a classifier, file.py:function, https://… or verify:numeric. Repeatable: an ensemble."
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="The file to write (.jsonl or .jsonl.gz).")] = None,
    name: Annotated[
        str | None, typer.Option(help="Key of the score in each answer; the scorer's own name if not given.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The class of a classifier whose logit is the score.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score at most this many records.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there already.")] = False,
    json: Json = False,
) -> None:
    """Score every answer of a file and print a summary. For comparisons and rankings, also report the scorer's
    agreement with people, where it fails, and how much people agree with one another."""
    options = {
        "data.source": data,
        "data.limit": limit,
        "scorer.path": scorer[0] if scorer and len(scorer) == 1 else scorer or None,
        "scorer.positive": positive,
        "name": name,
        "out": out,
        "force": force or None,
        "device": device,
    }
    settings = gather(ScoreSettings, words, options)
    from steersman.assemble.score import run_score
    from steersman.evaluate.reward_quality_words import lines_of

    result = run_score(settings, quiet=json)
    if json:
        return say(result.as_dict(), as_json=True, lines=[])
    console = printing.console(soft_wrap=True)
    for line in [*lines_of_score(result), *(lines_of(result.quality) if result.quality else [])]:
        console.print(line)
    return None


def lines_of_score(result: "ScoreResult") -> list[str]:
    """The summary, without the report on judgements."""
    from rich.markup import escape

    numbers: Mapping[str, float] = result.quantiles
    lines = [
        f"{escape(result.out)}: {result.answers:,} answers of {result.records:,} records, each with its score "
        f"{escape(result.name)!r}",
        f"  mean {result.mean:.4g}, standard deviation {result.std:.4g}",
        f"  lowest {numbers['0']:.4g}, quarter {numbers['0.25']:.4g}, middle {numbers['0.5']:.4g}, "
        f"three quarters {numbers['0.75']:.4g}, highest {numbers['1']:.4g}",
    ]
    lines += [f"  {count:,} × {escape(note)}" for note, count in {**result.noted, **result.left_out}.items()]
    if result.malformed:
        lines.append(f"  {result.malformed:,} bad rows were left out (`steersman data inspect` shows them)")
    return lines
