"""Rows to learn from out of the data settings: read, split by prompt, tokenised onto disk, counted; and what is said of it."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from steersman.data.kinds import as_demonstrations
from steersman.data.load import ReadReport
from steersman.data.tokens import TokenReport, TokenStore, build_token_store, open_or_build, store_key
from steersman.errors import DataError
from steersman.execution.fit import TrainingRows
from steersman.execution.kept import OpenRunFolder
from steersman.parallel.world import World
from steersman.settings.parts import DataSettings
from steersman.text.template import LossOn
from steersman.training_data.split import check_held_out, content_of, read_split


def demonstration_rows(
    data: DataSettings,
    tokeniser: Any,
    kept: OpenRunFolder,
    *,
    loss_on: LossOn,
    take_chosen: bool,
    context: int | None,
    world: World,
) -> TrainingRows:
    """Demonstrations and documents as token rows on disk, under the run's folder. Process 0 builds, the others open."""
    check_held_out(data)
    length = min(data.max_length, context or data.max_length)
    settings = {
        "max_length": length,
        "loss_on": loss_on,
        "chosen": take_chosen,
        "limit": data.limit,
        "held_out": data.held_out,
        "format": data.format,
    }
    cache = kept.folder.path / "tokens"
    stores: dict[bool, TokenStore | None] = {}
    for turn in (True, False):
        if turn != world.first:
            world.barrier()
            continue
        for held_out in (False, True):
            if held_out and not data.held_out:
                stores[held_out] = None
                continue
            key = store_key(_key(content_of(data)), tokeniser, {**settings, "side": held_out})
            reading = ReadReport()
            quarantine = None if held_out else kept.folder.quarantine_path
            build = partial(_build, data, tokeniser, held_out, take_chosen, quarantine, reading, length, loss_on)
            try:
                stores[held_out], report = open_or_build(cache, key, build)
            except DataError:
                # A share of a small source may be empty; a source of its own may not.
                if not held_out or isinstance(data.held_out, str):
                    raise
                stores[held_out] = None
                kept.notice(
                    f"nothing fell into the held-out share of {data.held_out}; the run goes without held-out numbers"
                )
                continue
            _tell(kept, reading, report, "held out" if held_out else "to learn from")
        if world.first:
            world.barrier()
    train, kept_back = stores[False], stores[True]
    assert train is not None
    held = [] if kept_back is None else [kept_back.row(i) for i in range(len(kept_back))]
    return TrainingRows(len(train), train.row, held)


def _build(
    data: DataSettings,
    tokeniser: Any,
    held_out: bool,
    take_chosen: bool,
    quarantine: Path | None,
    reading: ReadReport,
    length: int,
    loss_on: LossOn,
    folder: Path,
) -> TokenReport:
    left_out: Counter[str] = Counter()
    records = read_split(data, held_out=held_out, quarantine=quarantine, report=reading)
    rows = as_demonstrations(records, take_chosen=take_chosen, left_out=left_out)
    report = build_token_store(rows, tokeniser, folder, max_length=length, loss_on=loss_on)
    report.dropped.update(left_out)
    return report


def _key(hashes: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(hashes.items()))


def _tell(kept: OpenRunFolder, reading: ReadReport, report: TokenReport, side: str) -> None:
    words = f"{report.rows:,} rows {side}, {report.tokens:,} tokens of which {report.targets:,} are learned"
    if report.truncated:
        words += f"; {report.truncated:,} rows were cut to data.max_length"
    for reason, count in report.dropped.items():
        words += f"; {count:,} left out: {reason}"
    if reading.malformed:
        examples = "; ".join(text for found in reading.examples.values() for text in found[:1])
        words += f"; {reading.malformed:,} bad rows are in {kept.folder.quarantine_path}, such as {examples}"
    kept.notice(words)
