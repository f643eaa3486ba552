"""A data set for the hub: rows in one file for each split and a card (README.md), with paths and annotators' names
taken out of both."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from steersman.data.convert import convert_records
from steersman.data.inspect import Inspection, inspect
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError
from steersman.export.card_data import UNKNOWN, licence_of
from steersman.export.hub import README, licence_fields
from steersman.export.private import named, refuse_private, without_paths
from steersman.records import Comparison, Record
from steersman.secrets import concealed
from steersman.store.agreement import PairAgreement

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST_SIZE = "n>1M"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How a source becomes a data set: format of its rows, what they are called, licence, and what is kept."""

    to: str = "native"
    split: str = "train"
    licence: str | None = None
    keep_annotators: bool = False
    format: str | None = None


@dataclass
class WrittenData:
    """What was written: its statistics, and what the format could not express."""

    rows: int
    inspection: Inspection
    agreement: Mapping[str, Any]
    set_aside: int
    notes: list[str] = field(default_factory=list[str])


class Renamed:
    """Annotators by number, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def of(self, name: str) -> str:
        return self.numbers.setdefault(name, f"annotator-{len(self.numbers) + 1}") if name else ""


def write_data_set(source: str, name: str, folder: Path, options: DataOptions) -> WrittenData:
    """Write the rows and the card into an empty folder."""
    report, seen = ReadReport(), PairAgreement()
    renamed = Renamed()
    records = load_records(source, format=options.format, report=report)
    cleaned = (_cleaned(one, renamed, keep=options.keep_annotators) for one in records)
    file = folder / "data" / f"{options.split}.jsonl"
    file.parent.mkdir(parents=True)
    done = convert_records(_agreeing(cleaned, seen), file, options.to)
    aside = Path(done.set_aside_path) if done.set_aside_path else None
    if aside is not None:
        aside.unlink()
    if not done.written:
        raise DataError(report.nothing("rows", f"records that {options.to} can express"))
    again = ReadReport()
    found = WrittenData(
        done.written, inspect(load_records(str(file), report=again), again), seen.as_dict(), done.set_aside.total()
    )
    if renamed.numbers and not options.keep_annotators:
        found.notes.append(f"{len(renamed.numbers)} annotators are called by numbers (--keep-annotators keeps names)")
    if found.set_aside:
        found.notes.append(f"{found.set_aside:,} records that {done.target} cannot express are left out")
    if report.malformed:
        found.notes.append(f"{report.malformed:,} malformed rows are left out")
    card = data_card(source, name, found, done.target, options)
    refuse_private(card, [str(Path.cwd()), str(Path.home())])
    (folder / README).write_text(card, encoding="utf-8")
    return found


def _agreeing(records: Iterable[Record], seen: PairAgreement) -> Iterator[Record]:
    for one in records:
        if isinstance(one, Comparison):
            # One pair in the two orders is one pair.
            texts = sorted((one.first.text, one.second.text))
            chosen = one.first.text if one.preference > 0.5 else one.second.text
            side = "tie" if one.preference == 0.5 else "first" if chosen == texts[0] else "second"
            seen.add("\x1f".join([str(one.prompt.messages or one.prompt.text), *texts]), side)
        yield one


def _cleaned(record: Any, renamed: Renamed, *, keep: bool) -> Any:
    """A record, or a part of one, without names of people, secrets and places."""
    changes: dict[str, Any] = {}
    for one in fields(record):
        value = getattr(record, one.name)
        if one.name == "annotator":
            changes[one.name] = value if keep or value.startswith("judge:") else renamed.of(value)
        elif one.name == "model" and isinstance(value, str):
            changes[one.name] = named(value) if value else value
        elif one.name in ("metadata", "sampling") and isinstance(value, Mapping):
            changes[one.name] = _without_places(concealed(dict(value)))
        elif is_dataclass(value):
            changes[one.name] = _cleaned(value, renamed, keep=keep)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            changes[one.name] = tuple(_cleaned(each, renamed, keep=keep) for each in value)
    return replace(record, **changes) if changes else record


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items() if key not in ("annotator", "annotators")}
    if isinstance(value, list | tuple):
        return [_without_places(inner) for inner in value]
    return without_paths(value) if isinstance(value, str) and value.startswith(("/", "~", "./", "../")) else value


def data_card(source: str, name: str, found: WrittenData, target: str, options: DataOptions) -> str:
    """The card's text, with the block of metadata that the hub reads."""
    facts = found.inspection.as_dict()
    licence = options.licence
    if licence is None and (said := licence_of(source, "dataset")) != UNKNOWN:
        licence = said.partition(" (")[0]
    lines = ["", f"# {name.rpartition('/')[2]}", ""]
    lines += [f"{found.rows:,} rows from `{named(source)}`, written by Steersman in the format {target}.", ""]
    lines += ["## What is in it", "", *_counts(facts), ""]
    if facts["lengths"]:
        lines += ["## Lengths", "", "| of | texts | mean | median | 95 % | longest |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {of} | {one['count']:,} | {one['mean']} | {one['median']} | {one['p95']} | {one['longest']} |"
            for of, one in facts["lengths"].items()
        ]
        lines.append("")
    lines += ["## Agreement", "", _agreement(found.agreement), ""]
    lines += ["## How to use it", "", "```shell", *_uses(facts, name), "```", ""]
    lines += ["## Known limits", "", *(f"- {one}" for one in [*found.notes, *_limits(source, licence)]), ""]
    return _metadata(name, licence, found.rows, options) + "\n".join(lines)


def _metadata(name: str, licence: str | None, rows: int, options: DataOptions) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        **licence_fields(licence),
        pretty_name=name.rpartition("/")[2],
        size_categories=[next((word for most, word in SIZES if rows < most), LARGEST_SIZE)],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": options.split, "path": f"data/{options.split}.jsonl"}],
            }
        ],
        tags=["steersman", "rlhf"],
    )
    return f"---\n{data.to_yaml().strip()}\n---\n"


def _counts(facts: Mapping[str, Any]) -> list[str]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in dict(facts.get("kinds") or {}).items())
    found = [f"- records: {kinds or 'none'}", f"- different prompts: {facts['distinct_prompts']:,}"]
    found.append(f"- texts that come again: {facts['duplicates']['exact']:,}")
    pairs = facts["comparisons"]
    if pairs["count"]:
        found.append(f"- comparisons {pairs['count']:,}, ties {pairs['ties']:,}, both bad {pairs['both_bad']:,}")
        if pairs["longer_preferred"] is not None:
            found.append(f"- the longer answer was preferred in {pairs['longer_preferred']:.1%}")
    if facts["annotators"]["count"]:
        found.append(f"- annotators: {facts['annotators']['count']:,}")
    return found


def _agreement(found: Mapping[str, Any]) -> str:
    if not found["items"]:
        return "No comparison was judged more than once, so agreement is not known."
    alpha = "undefined" if found["alpha"] is None else format(found["alpha"], ".3f")
    return (
        f"{found['items']:,} comparisons were judged more than once. Two labels of one comparison agree in "
        f"{found['percent']:.1f} % of the cases; Krippendorff's alpha is {alpha}."
    )


def _uses(facts: Mapping[str, Any], name: str) -> list[str]:
    method = "reward" if facts["comparisons"]["count"] else "sft"
    return [f"steersman data inspect {name}", f"steersman {method} --data {name} --model ORG/MODEL --out runs/{method}"]


def _limits(source: str, licence: str | None) -> list[str]:
    found = ["It was not checked for personal data in the texts, nor for what is wrong or harmful in them."]
    if source.startswith("harbour:"):
        found.append("Harbour's prompts and judgements are generated, not written by people.")
    if licence is None:
        found.append("Its licence is not stated: others may not use it without asking.")
    return found
