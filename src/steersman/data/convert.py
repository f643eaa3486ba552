"""Conversion of records to another format, with counts of what the target format cannot represent.

Each written row is read back at once and compared. A record whose meaning changed (a tie became a win, a system message
is missing) is not written, but saved in a second file in the native format. A lost field without influence on the
meaning (an annotator, a time) is only counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steersman.data.formats.fields import CONTINUE
from steersman.data.formats.format import Format, LeftOut
from steersman.data.formats.registry import FORMATS, format_named
from steersman.data.kinds import as_prompts, pairs_of, prompt_of, with_prompt
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError, UsageError
from steersman.records import KIND_OF, Comparison, Prompt, Ranking, Record, to_dict

TRL_TYPES = (
    "trl-preference",
    "trl-unpaired",
    "trl-prompt-completion",
    "trl-language-modeling",
    "trl-stepwise",
    "trl-prompt",
)
TARGETS = ("native", "trl", *(name for name, found in FORMATS.items() if found.write and name != "native"))


@dataclass
class ConvertReport:
    """Counts of a conversion: `lost` fields that the target does not have, `set_aside` records that it cannot
    represent."""

    target: str = ""
    path: str = ""
    written: int = 0
    pairs_from_rankings: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    set_aside_path: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "lost": dict(self.lost), "set_aside": dict(self.set_aside)}


def set_aside_path(path: Path) -> Path:
    """Where a conversion to `path` saves the records that the target format cannot represent."""
    return path.with_name(path.name.split(".")[0] + ".set_aside.jsonl")


def convert_records(records: Iterable[Record], path: Path, target: str, *, force: bool = False) -> ConvertReport:
    """Write records to `path` in the target format. Records it cannot represent go to `<name>.set_aside.jsonl`.

    Files that are there already are overwritten only with `force`.
    """
    if target not in TARGETS:
        hint = "can only be read" if target in FORMATS else "is not known"
        raise UsageError(f"the format {target!r} {hint}; expected one of {', '.join(TARGETS)}")
    aside = set_aside_path(path)
    check_outputs([path, aside], force=force)
    report = ConvertReport(target=target, path=str(path))
    stream = iter(records)
    first = next(stream, None)
    form = format_named(target if target != "trl" else _trl_type(first))
    report.target = form.name
    with RowWriter(path) as rows, RowWriter(aside) as set_aside:
        for record in _chain(first, stream):
            for fitting in _fitting(record, form, report):
                row, reason = _row(fitting, form, report)
                if row is not None:
                    rows.write(row)
                else:
                    report.set_aside[reason] += 1
                    set_aside.write(to_dict(fitting))
    report.written = rows.rows
    if set_aside.rows:
        report.set_aside_path = str(aside)
    else:
        aside.unlink()  # empty, and this conversion's own
    return report


def _chain(first: Record | None, rest: Iterator[Record]) -> Iterator[Record]:
    if first is not None:
        yield first
        yield from rest


def _trl_type(record: Record | None) -> str:
    """TRL's dataset type for a kind of record."""
    kind = Comparison if isinstance(record, Ranking) else type(record)
    found = next((name for name in TRL_TYPES if kind in FORMATS[name].writes), None)
    if record is not None and found is None:
        raise DataError(f"TRL has no dataset type for a {KIND_OF[type(record)]}; convert to native instead")
    return found or TRL_TYPES[0]


def _fitting(record: Record, form: Format, report: ConvertReport) -> Iterator[Record]:
    """The record as kinds of the target: a ranking as its pairs; any record as its prompt if the target has prompts
    only."""
    if isinstance(record, Ranking) and Ranking not in form.writes and Comparison in form.writes:
        pairs = pairs_of(record)
        report.pairs_from_rankings += len(pairs)
        yield from pairs
    elif form.writes == (Prompt,) and not isinstance(record, Prompt):
        yield from list(as_prompts([record])) or [record]
    else:
        yield record


def _row(record: Record, form: Format, report: ConvertReport) -> tuple[dict[str, Any] | None, str]:
    """The row, or None and the reason."""
    if not isinstance(record, form.writes) or form.write is None:
        return None, f"a {KIND_OF[type(record)]}: {form.name} cannot represent it"
    if form.name == "native":
        return to_dict(record), ""
    try:
        row = form.write(record)
        back = form.read(row)
        if _continued(record) and not all(_continued(one) for one in back):
            # The reader of files knows this field in a row of any format.
            row = {**row, CONTINUE: True}
            back = [one if isinstance(one, LeftOut) else with_prompt(one, Prompt.to_be_continued) for one in back]
    except DataError as error:
        return None, str(error)
    if len(back) != 1 or isinstance(back[0], LeftOut):
        return None, f"{form.name} would read it as {len(back)} records"
    before, after = _flat(record), _flat(back[0])
    changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    meaning = next((path for path in changed if path in _MEANING), None)
    if meaning is not None:
        return None, f"{form.name} would change {meaning}"
    report.lost.update(path for path in changed if path in before)
    return row, ""


def _continued(record: Record | LeftOut) -> bool:
    prompt = None if isinstance(record, LeftOut) else prompt_of(record)
    return prompt is not None and prompt.continued


_MEANING = {
    "kind",
    "prompt.messages",
    "prompt.text",
    "prompt.continued",
    "first.text",
    "second.text",
    "tied",
    "both_bad",
    "completion.text",
    "completions.text",
    "order",
    "desirable",
    "steps",
    "labels",
    "text",
    "label",
    "messages",
}


def _flat(record: Record) -> dict[str, Any]:
    """A record as a flat mapping from path to value, with the chosen answer first so that the order does not matter."""
    if isinstance(record, Comparison):
        record = _chosen_first(record)
    whole = to_dict(record)
    flat: dict[str, Any] = {}
    for name, value in whole.items():
        if isinstance(value, dict) and name in ("prompt", "first", "second", "completion"):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        elif name == "completions":
            for key in ("text", "model", "scores", "sampling", "seed", "id"):
                items = [completion.get(key) for completion in value]
                flat |= {f"completions.{key}": items} if any(item is not None for item in items) else {}
        else:
            flat[name] = value
    if isinstance(record, Comparison):
        flat["tied"] = record.tied
    if isinstance(record, Ranking):
        order = sorted(set(record.ranks))
        flat["order"] = [order.index(rank) for rank in record.ranks]
    return flat


def _chosen_first(record: Comparison) -> Comparison:
    if record.preference >= 0.5:
        return record
    shown = {"first": "second", "second": "first"}.get(record.shown, record.shown)
    return replace(record, first=record.second, second=record.first, preference=1 - record.preference, shown=shown)
