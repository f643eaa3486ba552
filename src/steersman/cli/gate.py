"""`steersman gate`: which annotators' judgements are good enough to learn from."""

from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.command import Json, Words, gather, say
from steersman.runs.commands import command_line
from steersman.settings.gate import GateSettings

if TYPE_CHECKING:
    from steersman.assemble.gate import GateResult

EXAMPLE = "Example: steersman gate labels.jsonl --out passed.jsonl"


def gate(
    data: Annotated[str, typer.Argument(help="Judgements, as `steersman label` writes them: a file or a source.")],
    words: Words = None,
    out: Annotated[str | None, typer.Option(help="The file to write (.jsonl or .jsonl.gz).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there already.")] = False,
    json: Json = False,
) -> None:
    """Measure each annotator from the judgements alone: agreement with the others' consensus, and choice by position.
    Judgements of annotators with a fault are left out, or the file is refused (exit code 10)."""
    settings = gather(GateSettings, words, {"data.source": data, "out": out, "force": force or None})
    from steersman.assemble.gate import run_gate

    result = run_gate(settings, quiet=json)
    lines = [*_lines_of(result), f"  next: {command_line('data', 'inspect', result.out)}"]
    say(result.as_dict(), as_json=json, lines=lines)


def _lines_of(result: "GateResult") -> list[str]:
    quality = result.quality
    lines = [f"{result.out}: {result.kept:,} of {result.read:,} judgements"]
    if quality.agreement.estimate == quality.agreement.estimate:
        low, high = quality.agreement.low, quality.agreement.high
        lines.append(f"  two annotators agree: {quality.agreement.estimate:.1%} ({low:.1%} to {high:.1%})")
    else:
        lines.append("  no pair was judged by two annotators, so their agreement is not known")
    for one in quality.annotators:
        known = one.agreement.estimate == one.agreement.estimate
        agreement = f"{one.agreement.estimate:+.2f}" if known else "not known"
        first = one.shown_first.estimate
        position = f", chose the first shown {first:.0%}" if first == first else ""
        lines.append(
            f"  {one.annotator}: {one.judgements:,} judgements, {one.shared:,} of shared pairs, agreement with the "
            f"others {agreement}{position}{' (left out)' if one.annotator in result.left_out else ''}"
        )
        lines += [f"    {fault}" for fault in one.faults]
    return lines
