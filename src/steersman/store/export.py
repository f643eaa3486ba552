"""Export of a project: full-fidelity JSONL or Parquet with a data card, or records in any other format.

Rows are read in batches and written as they come. Only the card's agreement keeps something for each comparison.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from steersman.data.convert import convert_records
from steersman.data.formats.studio import COLUMNS
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import UsageError
from steersman.store.card import Card, card_of, markdown_of
from steersman.store.projects import Project
from steersman.store.reading import read_records, read_rows
from steersman.store.reading_cursor import Cursor, cursor_of

FULL = "full"
_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
_ROW_GROUP = 1000


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote. `set_aside` counts records that the format cannot express."""

    path: str
    format: str
    rows: int
    card: str = ""
    set_aside: int = 0
    set_aside_path: str = ""


def export_project(
    found: Project, path: Path, *, to: str = FULL, cursor: Cursor | None = None, force: bool = False
) -> ExportReport:
    """Write a project to a file: `to` is full, or a format's name as in `steersman data convert`."""
    cursor = cursor or cursor_of(found)
    if to != FULL:
        done = convert_records(read_records(found, cursor), path, to, force=force)
        return ExportReport(str(path), done.target, done.written, "", done.set_aside.total(), done.set_aside_path)
    if cursor.labels:
        raise UsageError("a full export holds every label; export soft labels with --to native, or another format")
    if not path.name.endswith(_ENDINGS):
        raise UsageError(f"{path}: a full export is written as {', '.join(_ENDINGS)}")
    card_json, card_text = card_paths(path)
    check_outputs([path, card_json, card_text], force=force)
    card = card_of(found, cursor)
    with _writer(path) as writer:
        for row in card.counting(read_rows(found, cursor)):
            writer.write(row)
    write_card(card, card_json, card_text)
    return ExportReport(str(path), FULL, writer.rows, str(card_text))


def card_paths(path: Path) -> tuple[Path, Path]:
    """Where the data card of an export lies: as JSON, and as Markdown."""
    return path.with_name(f"{path.name}.card.json"), path.with_name(f"{path.name}.card.md")


def write_card(card: Card, as_json: Path, as_text: Path) -> None:
    facts = card.as_dict()
    as_json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    as_text.write_text(markdown_of(facts), encoding="utf-8")


def _writer(path: Path) -> "RowWriter | ParquetRows":
    return ParquetRows(path) if path.suffix == ".parquet" else RowWriter(path)


class ParquetRows:
    """Writes full-fidelity rows to a Parquet file, which appears when the `with` block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._waiting: list[Mapping[str, Any]] = []

    def __enter__(self) -> "ParquetRows":
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path.parent.mkdir(parents=True, exist_ok=True)
        types = {
            "int": pa.int64(),
            "float": pa.float64(),
            "bool": pa.bool_(),
            "ints": pa.list_(pa.int64()),
            "strs": pa.list_(pa.string()),
        }
        self._schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in COLUMNS.items()])
        self._file = pq.ParquetWriter(self._aside, self._schema, compression="zstd")
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        nested = {name for name, kind in COLUMNS.items() if kind == "json"}
        self._waiting.append(
            {name: json.dumps(one, ensure_ascii=False) if name in nested else one for name, one in row.items()}
        )
        self.rows += 1
        if len(self._waiting) == _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = {name: [row.get(name) for row in self._waiting] for name in COLUMNS}
        self._file.write_table(pa.table(columns, schema=self._schema))
        self._waiting.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._waiting or not self.rows):
            self._flush()
        self._file.close()
        if kind is not None:
            self._aside.unlink(missing_ok=True)
            return
        with self._aside.open("rb") as written:
            os.fsync(written.fileno())
        self._aside.replace(self.path)
