"""Streaming loader from a source to records, with counts of all rows: read, left out, or malformed by reason.

No row is dropped silently: rows = good rows + malformed rows, exactly. A quarantine file keeps the malformed ones.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from steersman.data.columns import Columns, format_of_columns
from steersman.data.formats.fields import CONTINUE, flag
from steersman.data.formats.format import UNFORESEEN, Format, LeftOut, PlacedOutcomes
from steersman.data.formats.registry import detect, format_named
from steersman.data.kinds import with_prompt
from steersman.data.outputs import check_outputs
from steersman.data.sources import SourcePart, open_parts
from steersman.data.wanted import who_wants
from steersman.errors import DataError
from steersman.records import (
    KIND_OF,
    Answers,
    ClassifiedText,
    Comparison,
    Demonstration,
    Document,
    Label,
    Malformed,
    Prompt,
    Ranking,
    Record,
    Steps,
)

_SAMPLE = 20  # rows used to detect the format
_EXAMPLES = 3


@dataclass
class ReadReport:
    """Counts of a source's rows: records, left out, malformed. Filled while the records are read."""

    source: str = ""
    rows: int = 0
    malformed: int = 0
    records: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    """Records of every kind, also of kinds that were not wanted."""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    formats: dict[str, str] = field(default_factory=dict)

    @property
    def good_rows(self) -> int:
        return self.rows - self.malformed

    def add_malformed(self, bad: Malformed) -> None:
        self.malformed += 1
        reason = bad.reason.split(":")[0]  # the text after a colon is specific to the row
        self.reasons[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(str(bad))

    def nothing(self, what: str, expected: str, left_out: Counter[str] | None = None) -> str:
        """The message of an error: the source has no `what`, why its rows were left out, and what was expected."""
        reasons = [f"{count:,} × {reason}" for reason, count in ((left_out or Counter()) + self.left_out).items()]
        if self.malformed:
            example = next(text for found in self.examples.values() for text in found)
            reasons.append(f"{self.malformed:,} × a bad row, such as {example}")
        uses = f" {who_wants(self.seen)}" if self.seen else ""
        return (
            f"{self.source}: no {what} ({'; '.join(reasons) or 'no records'}); expected {expected}.{uses} "
            "`steersman data inspect` shows what is there"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "formats": self.formats,
            "rows": self.rows,
            "good_rows": self.good_rows,
            "malformed": self.malformed,
            "records": self.records,
            "kinds": dict(self.kinds),
            "reasons": {r: {"count": n, "examples": self.examples[r]} for r, n in self.reasons.most_common()},
            "left_out": dict(self.left_out),
        }


def load_records(
    source: str,
    *,
    kind: type | tuple[type, ...] | None = None,
    format: str | Columns | None = None,
    split: str | None = None,
    strict: bool = False,
    quarantine: Path | None = None,
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """The records of a source, streaming. With `kind`, only records of that kind; others are counted as left out.

    `format` is a format's name, or which column of a table holds what; without it the fields say. A plain-text file has
    a document in each paragraph, or, where `kind` has prompts and no documents, a prompt in each line.
    """
    report = report if report is not None else ReadReport()
    report.source = source
    if quarantine is not None:
        check_outputs([quarantine], reads=[source], force=True)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    parts = open_parts(source, split=split, prompts=Prompt in kinds and Document not in kinds)
    chosen = format_named(format) if format and isinstance(format, str) else format or None
    return _load(parts, _Keeper(report, kind, strict, quarantine), chosen)


def _load(parts: Iterator[SourcePart], keeper: "_Keeper", chosen: Format | Columns | None) -> Iterator[Record]:
    with keeper:
        for part in parts:
            for line, outcome in _outcomes(part, chosen, keeper.report):
                if keeper.keeps(line, outcome):
                    yield outcome  # type: ignore[misc]


class _Keeper:
    """Counts outcomes, writes the quarantine file, and decides which records are kept."""

    def __init__(
        self, report: ReadReport, kind: type | tuple[type, ...] | None, strict: bool, quarantine: Path | None
    ) -> None:
        self.report, self.kind, self.strict, self.path = report, kind, strict, quarantine
        self.file: IO[str] | None = None

    def __enter__(self) -> "_Keeper":
        return self

    def __exit__(self, *_: object) -> None:
        if self.file:
            self.file.close()

    def keeps(self, line: int, outcome: Record | LeftOut | Malformed) -> bool:
        if isinstance(outcome, Malformed):
            self.report.add_malformed(outcome)
            self._quarantine(outcome)
            if self.strict:
                raise DataError(
                    f"{outcome} (strict stops at the first malformed row; without it such rows are left out)"
                )
            return False
        if isinstance(outcome, LeftOut):
            self.report.left_out[outcome.reason] += 1
            return False
        self.report.seen[KIND_OF[type(outcome)]] += 1
        if self.kind is not None and not isinstance(outcome, self.kind):
            wanted = " or ".join(KIND_OF[k] for k in (self.kind if isinstance(self.kind, tuple) else (self.kind,)))
            self.report.left_out[f"a {KIND_OF[type(outcome)]} where a {wanted} is expected"] += 1
            return False
        self.report.records += 1
        self.report.kinds[KIND_OF[type(outcome)]] += 1
        return True

    def _quarantine(self, bad: Malformed) -> None:
        if self.path is None:
            return
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("w", encoding="utf-8", errors="backslashreplace")
        row = {"file": bad.source, "line": bad.line, "reason": bad.reason, "row": bad.row}
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.file.flush()


def _outcomes(part: SourcePart, chosen: Format | Columns | None, report: ReadReport) -> PlacedOutcomes:
    """The records, left-out rows and malformed rows of one part, with line numbers."""
    rows = iter(part.rows)
    head: list[tuple[int, dict[str, Any] | Malformed]] = []
    sample: list[dict[str, Any]] = []
    for line, row in rows:
        head.append((line, row))
        if isinstance(row, dict):
            sample.append(row)
        if len(sample) == _SAMPLE or isinstance(chosen, Format):
            break
    if not sample and not isinstance(chosen, Format):
        report.rows += len(head)
        yield from ((line, row) for line, row in head if isinstance(row, Malformed))
        return
    try:
        form = _form(chosen, sample)
    except DataError as error:
        raise DataError(f"{part.name}: {error}") from error
    report.formats[part.name] = form.name
    placed = _counted(itertools.chain(head, rows), report)
    if form.gather:
        yield from _gathered(part.name, placed, form.gather)
    else:
        for line, row in placed:
            yield from ((line, outcome) for outcome in _read_row(part.name, line, row, form))


def _form(chosen: Format | Columns | None, sample: list[dict[str, Any]]) -> Format:
    if chosen is None:
        return detect(sample)
    return chosen if isinstance(chosen, Format) else format_of_columns(chosen, sample)


def _counted(rows: Iterator[tuple[int, Any]], report: ReadReport) -> Iterator[tuple[int, Any]]:
    for placed in rows:
        report.rows += 1
        yield placed


def _read_row(name: str, line: int, row: Any, form: Format) -> list[Any]:
    """All outcomes of a row, or one Malformed: one bad record makes the whole row malformed."""
    if isinstance(row, Malformed):
        return [row]
    try:
        check_text(row)
        outcomes = _as_said(row, form)
        for outcome in outcomes:
            if not isinstance(outcome, LeftOut):
                check_record(outcome)
    except DataError as error:
        return [Malformed(name, line, str(error), _raw(row))]
    except UNFORESEEN as error:
        # A field with an unforeseen type makes this row malformed; it must not stop the other million rows.
        return [
            Malformed(
                name, line, f"unexpected shape: {type(error).__name__}: {error} (read as {form.name})"[:300], _raw(row)
            )
        ]
    return outcomes


def _as_said(row: Mapping[str, Any], form: Format) -> list[Any]:
    """The outcomes of a row. Its field `continue`, in any format, says whether its prompt is a text to be continued."""
    if CONTINUE not in row:
        return form.read(row)
    said = flag(row, CONTINUE)
    outcomes = form.read({key: value for key, value in row.items() if key != CONTINUE})
    if not said:
        return outcomes
    return [one if isinstance(one, LeftOut) else with_prompt(one, Prompt.to_be_continued) for one in outcomes]


def _gathered(name: str, placed: Iterator[tuple[int, Any]], gather: Callable[..., PlacedOutcomes]) -> PlacedOutcomes:
    """The outcomes of a format whose records span several rows. Malformed rows are filtered out before `gather`."""
    aside: list[tuple[int, Malformed]] = []

    def good_rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, row in placed:
            if isinstance(row, Malformed):
                aside.append((line, row))
                continue
            try:
                check_text(row)
            except DataError as error:
                aside.append((line, Malformed(name, line, str(error), _raw(row))))
                continue
            yield line, row

    for line, outcome in gather(name, good_rows()):
        yield from aside
        aside.clear()
        try:
            if not isinstance(outcome, LeftOut | Malformed):
                check_record(outcome)
            yield line, outcome
        except DataError as error:
            yield line, Malformed(name, line, str(error))
    yield from aside


def _raw(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)[:4000].encode("utf-8", "backslashreplace").decode()


def check_text(value: Any) -> None:
    """Raise DataError for invalid text: a NUL, or a lone surrogate (which invalid UTF-8 bytes also become)."""
    if isinstance(value, str):
        if "\0" in value:
            raise DataError("a NUL character in the text")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                bad = ord(value[error.start])
                kind = "invalid UTF-8" if 0xDC80 <= bad <= 0xDCFF else "half a surrogate pair"
                raise DataError(f"{kind}: {value[max(0, error.start - 10) : error.start + 1]!r}") from None
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_text(key)
            check_text(item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_text(item)


def check_record(record: Record) -> None:
    """Raise DataError for useless records: an empty answer or prompt, or a pair of identical answers."""
    if isinstance(record, Comparison):
        _answers(record.first.text, record.second.text)
        if record.first.text == record.second.text:
            raise DataError("identical pair: both answers are the same text")
    elif isinstance(record, Ranking | Answers):
        _answers(*(completion.text for completion in record.completions))
        if isinstance(record, Ranking) and len({completion.text for completion in record.completions}) == 1:
            raise DataError("identical answers: all ranked answers are the same text")
    elif isinstance(record, Demonstration | Label):
        _answers(record.completion.text)
    elif isinstance(record, Steps):
        _answers(*record.steps)
    elif isinstance(record, Document | ClassifiedText) and not record.text.strip():
        raise DataError("empty text")
    prompt = record if isinstance(record, Prompt) else getattr(record, "prompt", None)
    if prompt is not None and not prompt.shown.strip():
        raise DataError("empty prompt")


def _answers(*texts: str) -> None:
    for text in texts:
        if not text.strip():
            raise DataError("empty answer")
