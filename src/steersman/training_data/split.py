"""The data settings' two sides: what is learned from and what is held out, by a hash of the prompt."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from steersman.data.load import ReadReport, load_records
from steersman.data.sources import content_hash
from steersman.data.split import split_of
from steersman.errors import UsageError
from steersman.loading.sources import register_sources
from steersman.records import Record
from steersman.settings.parts import DataSettings


def content_of(data: DataSettings) -> dict[str, str]:
    """Hashes of what is learned from, for the stamp: a run does not continue on other data."""
    register_sources()
    sources = {"train": data.source, **({"held out": data.held_out} if isinstance(data.held_out, str) else {})}
    return {name: content_hash(source) for name, source in sources.items()}


def read_split(data: DataSettings, *, held_out: bool, quarantine: Path | None, report: ReadReport) -> Iterator[Record]:
    """The records to learn from, or those held out. A share is held out by a hash of the prompt: none stands on both sides."""
    if held_out and not data.held_out:
        return iter(())
    source = data.held_out if held_out and isinstance(data.held_out, str) else data.source
    records = load_records(
        source,
        format=data.format,
        split=data.split if source == data.source else None,
        strict=data.strict,
        quarantine=quarantine,
        report=report,
    )
    if isinstance(data.held_out, float) and data.held_out > 0:
        shares = {"train": 1.0 - data.held_out, "held out": data.held_out}
        records = (record for record in records if (split_of(record, shares) == "held out") == held_out)
    return itertools.islice(records, data.limit)


def check_held_out(data: DataSettings) -> None:
    if isinstance(data.held_out, float) and not 0 <= data.held_out < 1:
        raise UsageError(f"data.held_out is a share below 1, or a second source; seen {data.held_out}")
