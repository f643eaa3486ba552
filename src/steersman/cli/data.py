"""`steersman data`: what is in a source of feedback, the same in another format, and splits without leaks."""

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Look into feedback data, convert it and split it. A source is a file, a folder, a hub id or a named source.",
)

Source = Annotated[str, typer.Argument(help="A file, a folder, owner/name of the hub, or a named source.")]
Split = Annotated[str | None, typer.Option(help="The split of a dataset: train, validation, test …")]
Format = Annotated[
    str | None, typer.Option(help="The format of the rows, if it should not be recognised by their fields.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row (exit code 3).")]
Quarantine = Annotated[Path | None, typer.Option(help="Write bad rows to this file, with file, line and reason.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words and bars.")]


@app.command("inspect", epilog="Example: steersman data inspect train.jsonl.gz test.jsonl.gz")
def inspect_command(
    sources: Annotated[list[str], typer.Argument(help="One source, or several to be checked for prompts in common.")],
    split: Split = None,
    format: Format = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A model folder: lengths are counted in its tokens too.")
    ] = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    as_json: Json = False,
) -> None:
    """Rows, kinds, lengths, duplicates, ties, position, annotators, bad rows; with several sources, leaks between them."""
    from steersman.data.inspect import find_leak, inspect, token_counter
    from steersman.data.load import ReadReport, load_records
    from steersman.data.show import inspection_lines, leak_lines

    count_tokens = token_counter(tokenizer) if tokenizer else None
    seen = []
    for number, source in enumerate(sources):
        report = ReadReport()
        beside = (
            quarantine.with_stem(f"{quarantine.stem}-{number + 1}") if quarantine and len(sources) > 1 else quarantine
        )
        records = load_records(source, format=format, split=split, strict=strict, quarantine=beside, report=report)
        seen.append(inspect(records, report, count_tokens=count_tokens))
    leaks = [
        find_leak(a, b, load_records(b.report.source, format=format, split=split))
        for a, b in itertools.combinations(seen, 2)
    ]
    if as_json:
        found: dict[str, Any] = {"sources": [one.as_dict() for one in seen]}
        leaking = [
            {
                **{k: getattr(leak, k) for k in ("first", "second", "prompts", "records")},
                "examples": list(leak.examples),
            }
            for leak in leaks
        ]
        _print_json({**found, "leaks": leaking})
    else:
        blocks = ["\n".join(inspection_lines(one)) for one in seen]
        _print("\n\n".join([*blocks, *(["\n".join(leak_lines(leaks))] if leaks else [])]))


@app.command(
    "convert", epilog="Example: steersman data convert hh-rlhf/train.jsonl.gz pairs.jsonl.gz --to trl-preference"
)
def convert_command(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to write: .jsonl or .json, or .gz of these.")],
    to: Annotated[
        str, typer.Option(help="native, trl (its type is chosen by the records), or a format's name.")
    ] = "native",
    split: Split = None,
    format: Format = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    as_json: Json = False,
) -> None:
    """The same records in another format. What the format cannot say is set aside in a file and counted."""
    from steersman.data.convert import convert_records
    from steersman.data.load import ReadReport, load_records
    from steersman.data.show import conversion_lines, reading_lines

    read = ReadReport()
    records = load_records(source, format=format, split=split, strict=strict, quarantine=quarantine, report=read)
    report = convert_records(records, target, to)
    if as_json:
        _print_json({"read": read.as_dict(), "wrote": report.as_dict()})
    else:
        _print("\n".join([*reading_lines(read), *conversion_lines(report)]))


@app.command("split", epilog="Example: steersman data split pairs.jsonl parts --shares 0.8,0.1,0.1")
def split_command(
    source: Source,
    folder: Annotated[Path, typer.Argument(help="The folder for train.jsonl, validation.jsonl and test.jsonl.")],
    shares: Annotated[
        str, typer.Option(help="Shares that add up to 1, as numbers or as name=number.")
    ] = "0.9,0.05,0.05",
    by: Annotated[
        str, typer.Option(help="prompt: no prompt in two splits. opening: no conversation in two splits.")
    ] = "prompt",
    gz: Annotated[bool, typer.Option("--gz", help="Write .jsonl.gz.")] = False,
    split: Split = None,
    format: Format = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    as_json: Json = False,
) -> None:
    """Splits by a hash of the prompt: no prompt stands in two splits, and the same prompt always goes to the same one."""
    from steersman.data.load import ReadReport, load_records
    from steersman.data.show import reading_lines, split_lines
    from steersman.data.split import read_shares, split_records

    read = ReadReport()
    records = load_records(source, format=format, split=split, strict=strict, quarantine=quarantine, report=read)
    report = split_records(records, folder, shares=read_shares(shares), by=by, ending=".jsonl.gz" if gz else ".jsonl")
    if as_json:
        _print_json({"read": read.as_dict(), "wrote": report.as_dict()})
    else:
        _print("\n".join([*reading_lines(read), *split_lines(report)]))


def _print(words: str) -> None:
    """Plain output, whatever the text holds: no markup is read out of people's data, and control characters are shown."""
    typer.echo("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in words))


def _print_json(found: dict[str, Any]) -> None:
    typer.echo(json.dumps(found))
