"""`steersman data`: inspect a data source, convert it to another format, split it without leaks, upload it."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.recipes import Recipe
from steersman.errors import UsageError
from steersman.printing import say, say_json

app = typer.Typer(
    no_args_is_help=True,
    help="Inspect, convert and split feedback data. A source is a file, a folder, a hub id or a named source.",
)


@app.callback()
def data() -> None:
    """Inspect, convert and split feedback data. A source is a file, a folder, a hub id or a named source."""
    from steersman.loading.sources import register_sources

    register_sources()


Source = Annotated[str, typer.Argument(help="A file, a folder, owner/name of the hub, or a named source.")]
Split = Annotated[str | None, typer.Option(help="The split of a dataset: train, validation, test …")]
Format = Annotated[str | None, typer.Option(help="The format of the rows; detected from their fields if not given.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        help="Which column of a table holds what: --columns prompt=question,chosen=good,rejected=bad. Repeatable.",
        show_default=False,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first malformed row (exit code 3).")]
Quarantine = Annotated[Path | None, typer.Option(help="Write malformed rows to this file, with file, line and reason.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command("inspect", epilog="Example: steersman data inspect train.jsonl.gz test.jsonl.gz")
def inspect_command(
    sources: Annotated[list[str], typer.Argument(help="One source, or several, which are checked for shared prompts.")],
    split: Split = None,
    format: Format = None,
    columns: Columns = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A model folder; lengths are also counted in its tokens.")
    ] = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    force: Force = False,
    recipe: Recipe = None,
    as_json: Json = False,
) -> None:
    """Count rows, kinds, lengths, duplicates, ties, position bias, annotators and malformed rows. With several sources,
    also find prompts that they share (leaks)."""
    from steersman.data.inspect import find_leak, inspect, token_counter
    from steersman.data.load import ReadReport, load_records
    from steersman.data.outputs import check_outputs
    from steersman.data.show import inspection_lines, leak_lines

    form = _row_format(format, columns)
    count_tokens = token_counter(tokenizer) if tokenizer else None
    aside = _one_each(quarantine, len(sources))
    check_outputs([path for path in aside if path is not None], reads=sources, force=force)
    seen = []
    for source, bad_rows in zip(sources, aside, strict=True):
        report = ReadReport()
        records = load_records(source, format=form, split=split, strict=strict, quarantine=bad_rows, report=report)
        seen.append(inspect(records, report, count_tokens=count_tokens))
    leaks = [
        find_leak(a, b, load_records(b.report.source, format=form, split=split))
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
        say_json({**found, "leaks": leaking})
    else:
        blocks = ["\n".join(inspection_lines(one)) for one in seen]
        say("\n\n".join([*blocks, *(["\n".join(leak_lines(leaks))] if leaks else [])]))


@app.command(
    "convert",
    epilog="Example: steersman data convert hh-rlhf/train.jsonl.gz pairs.jsonl.gz --to trl-preference",
)
def convert_command(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to write: .jsonl or .json, or .gz of these.")],
    to: Annotated[
        str, typer.Option(help="native, trl (the dataset type follows from the records), or a format's name.")
    ] = "native",
    split: Split = None,
    format: Format = None,
    columns: Columns = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    force: Force = False,
    recipe: Recipe = None,
    as_json: Json = False,
) -> None:
    """Convert records to another format. Records that it cannot represent are counted and saved in a second file."""
    from steersman.data.convert import convert_records, set_aside_path
    from steersman.data.load import ReadReport, load_records
    from steersman.data.outputs import check_outputs
    from steersman.data.show import conversion_lines, reading_lines

    form = _row_format(format, columns)
    written = [target, set_aside_path(target), *([quarantine] if quarantine else [])]
    check_outputs(written, reads=[source], force=force)
    read = ReadReport()
    records = load_records(source, format=form, split=split, strict=strict, quarantine=quarantine, report=read)
    report = convert_records(records, target, to, force=force)
    _record([target], "data convert", source, {"to": to, "split": split, "format": format, "columns": columns})
    if as_json:
        say_json({"read": read.as_dict(), "wrote": report.as_dict()})
    else:
        say("\n".join([*reading_lines(read), *conversion_lines(report)]))


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
    columns: Columns = None,
    strict: Strict = False,
    quarantine: Quarantine = None,
    force: Force = False,
    recipe: Recipe = None,
    as_json: Json = False,
) -> None:
    """Split by a hash of the prompt: no prompt is in two splits, and the same prompt always goes to the same split."""
    from steersman.data.load import ReadReport, load_records
    from steersman.data.outputs import check_outputs
    from steersman.data.show import reading_lines, split_lines
    from steersman.data.split import read_shares, split_paths, split_records

    form = _row_format(format, columns)
    parts, ending = read_shares(shares), ".jsonl.gz" if gz else ".jsonl"
    written = [*split_paths(folder, parts, ending).values(), *([quarantine] if quarantine else [])]
    check_outputs(written, reads=[source], force=force)
    read = ReadReport()
    records = load_records(source, format=form, split=split, strict=strict, quarantine=quarantine, report=read)
    report = split_records(records, folder, shares=parts, by=by, ending=ending, force=force)
    made = split_paths(folder, parts, ending).values()
    given = {"shares": shares, "by": by, "split": split, "format": format, "columns": columns}
    _record(made, "data split", source, given)
    if as_json:
        say_json({"read": read.as_dict(), "wrote": report.as_dict()})
    else:
        say("\n".join([*reading_lines(read), *split_lines(report)]))


@app.command("push", epilog="Example: steersman data push judgements.jsonl ORG/NAME --licence cc-by-4.0 --dry-run")
def push_command(
    source: Source,
    repo: Annotated[str, typer.Argument(help="The data set on the hub: ORG/NAME.")],
    to: Annotated[str, typer.Option(help="native, trl (the dataset type follows from the records), or a format.")] = (
        "native"
    ),
    split: Annotated[str, typer.Option(help="What the rows are called there: train, validation, test.")] = "train",
    licence: Annotated[str | None, typer.Option(help="The licence, as the hub names it: cc-by-4.0.")] = None,
    keep_annotators: Annotated[
        bool, typer.Option("--keep-annotators", help="Keep annotators' names; they become numbers otherwise.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Everybody may read it. It is private otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")] = False,
    format: Format = None,
    recipe: Recipe = None,
    as_json: Json = False,
) -> None:
    """Upload a source to the Hugging Face hub as a data set with a card, without annotators' names and local paths."""
    from steersman.assemble.push_data import run_push_data
    from steersman.export.data_set import DataOptions

    options = DataOptions(to, split, licence, keep_annotators, format)
    done = run_push_data(source, repo, options, public=public, dry_run=dry_run)
    if as_json:
        say_json({**done.push.as_dict(), "rows": done.rows, "notes": [*done.notes]})
    else:
        say("\n".join([*done.push.lines, f"  {done.rows:,} rows", *(f"  {note}" for note in done.notes)]))


def _one_each(quarantine: Path | None, sources: int) -> list[Path | None]:
    """A quarantine file for each source, numbered if there are several."""
    if quarantine is None or sources == 1:
        return [quarantine] * sources
    return [quarantine.with_stem(f"{quarantine.stem}-{number}") for number in range(1, sources + 1)]


def _record(made: Iterable[Path], command: str, source: str, options: Mapping[str, Any]) -> None:
    """Write beside each file what it was made from."""
    from steersman.lineage.inputs import Input, content_named
    from steersman.lineage.records import write_record

    settings = {"source": source, **{name: value for name, value in options.items() if value is not None}}
    for path in made:
        write_record(path, command, [Input("source", source, content_named(source) or "")], settings)


def _row_format(format: str | None, columns: list[str] | None) -> str | Mapping[str, Any] | None:
    """How rows are read: by a format's name, or by the columns that were given as field=column."""
    if not columns:
        return format
    from steersman.settings.base import check
    from steersman.settings.columns import ColumnSettings, row_format
    from steersman.settings.score import SourceSettings

    pairs = [pair for given in columns for pair in given.split(",")]
    several: dict[str, list[str]] = {}
    for pair in pairs:
        field, equals, name = pair.partition("=")
        if not equals:
            raise UsageError(f"--columns {pair!r}: expected field=column, such as --columns prompt=question")
        several.setdefault(field.strip(), []).append(name.strip())
    values = {field: names if field in ("answers", "metadata") else names[-1] for field, names in several.items()}
    chosen = check(ColumnSettings, values)
    return row_format(SourceSettings(source="", format=format, columns=chosen))
