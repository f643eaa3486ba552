"""Splits data into a training side and a held-out side, by a hash of the prompt."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.data.kinds import under_template
from steersman.data.load import ReadReport, load_records
from steersman.data.split import split_of
from steersman.errors import UsageError
from steersman.execution.context import RunContext
from steersman.judging.reading import difference_in_words
from steersman.loading.sources import hash_of_source
from steersman.records import Record
from steersman.settings.columns import row_format
from steersman.settings.parts import DataSettings
from steersman.settings.reward import JudgementDataSettings
from steersman.training_data.chat import settle_template


def content_of(data: DataSettings) -> dict[str, str]:
    """Hashes of the data, for the stamp: a run does not continue with other data."""
    more = {f"more {number}": source for number, source in enumerate(more_sources(data), 1)}
    sources = {"train": data.source, **more, **({"held out": data.held_out} if isinstance(data.held_out, str) else {})}
    return {name: hash_of_source(source) for name, source in sources.items()}


def more_sources(data: DataSettings) -> tuple[str, ...]:
    """Further sources of the training side, where the settings have them."""
    return tuple(data.more) if isinstance(data, JudgementDataSettings) else ()


@runtime_checkable
class Tokenised(Protocol):
    """A model with its tokeniser, which rows are made for."""

    @property
    def tokeniser(self) -> Any: ...
    @property
    def context_length(self) -> int | None: ...


@dataclass(frozen=True)
class DataSide:
    """One side of the data settings, what is learned from or what is held out. `report` says what was read of it."""

    data: DataSettings
    held_out: bool
    quarantine: Path | None
    """Where bad rows are kept; None: nowhere."""
    report: ReadReport = field(default_factory=ReadReport)

    def __post_init__(self) -> None:
        check_held_out(self.data)

    @staticmethod
    def of(run: RunContext, data: DataSettings, *, held_out: bool) -> "DataSide":
        """The side as a run reads it. Bad rows of the training side are kept in the run's folder."""
        return DataSide(data, held_out, None if held_out else run.quarantine)

    @property
    def name(self) -> str:
        return "held-out" if self.held_out else "train"

    @property
    def words(self) -> str:
        """What its rows are for, in a notice."""
        return "held out" if self.held_out else "to learn from"

    @property
    def may_be_empty(self) -> bool:
        """A share of a small source may be empty; a source of its own may not."""
        return self.held_out and not isinstance(self.data.held_out, str)

    def records(self) -> Iterator[Record]:
        """Its records. A share is held out by a hash of the prompt, so that none stands on both sides."""
        return (record for _, record in self.numbered_records())

    def numbered_records(self) -> Iterator[tuple[int, Record]]:
        """Its records, each with the number of its source: 0, or that of a further one."""
        data, held_out = self.data, self.held_out
        if held_out and not data.held_out:
            return iter(())
        source = data.held_out if held_out and isinstance(data.held_out, str) else data.source
        # a second source to hold out stands for itself; a share is taken of all
        further = () if source != data.source else more_sources(data)
        read = [
            zip(itertools.repeat(number), under_template(data.template, self._read(place, number)), strict=False)
            for number, place in enumerate((source, *further))
        ]
        records = itertools.chain.from_iterable(read)
        if isinstance(data.held_out, float) and data.held_out > 0:
            shares = {"train": 1.0 - data.held_out, "held out": data.held_out}
            records = (one for one in records if (split_of(one[1], shares) == "held out") == held_out)
        return itertools.islice(records, data.limit)

    def _read(self, source: str, number: int) -> Iterator[Record]:
        """The records of one source. Bad rows of a further one are kept in a file of their own."""
        kept = self.quarantine
        return load_records(
            source,
            format=row_format(self.data) if number == 0 else None,
            split=self.data.split if source == self.data.source else None,
            strict=self.data.strict,
            quarantine=kept if kept is None or number == 0 else kept.with_name(f"{kept.stem}-{number}{kept.suffix}"),
            report=self.report,
        )

    @staticmethod
    def settle_template(run: RunContext, data: DataSettings, tokeniser: Any) -> None:
        """Decide and say how the prompts reach the model, before any row is made."""
        settle_template(data.template, tokeniser, DataSide(data, False, None).records(), run.notice)

    def tell(self, run: RunContext, words: str, left_out: Mapping[str, int]) -> None:
        """A notice of what was read: the words, what was left out and why, where bad rows of the training side are."""
        for reason, count in left_out.items():
            words += f"; {count:,} left out: {reason}"
        if self.report.malformed and not self.held_out:
            examples = "; ".join(text for found in self.report.examples.values() for text in found[:1])
            path = self.quarantine or run.folder.folder.quarantine_path
            words += f"; {self.report.malformed:,} bad rows are in {path}, such as {examples}"
        run.notice(words)
        differing = "" if self.held_out else difference_in_words(Path(self.data.source).expanduser())
        if differing:
            run.notice(differing)


def longest_row(data: DataSettings, context: int | None) -> int:
    """The most tokens of a row, by the settings and by what the model can read."""
    return min(data.max_length, context or data.max_length)


def cut_words(data: DataSettings, context: int | None) -> str:
    """What rows are cut to, in a notice: the setting, or the model's context if that is shorter."""
    short = context is not None and context < data.max_length
    return f"the model's context of {context} tokens" if short else "data.max_length"


def check_held_out(data: DataSettings) -> None:
    if isinstance(data.held_out, float) and not 0 <= data.held_out < 1:
        raise UsageError(f"data.held_out is a share below 1, or a second source; seen {data.held_out}")
