"""Atomic writing of rows to JSON Lines or a JSON array, gzipped if the name ends with .gz."""

import gzip
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from steersman.errors import DataError

_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


class RowWriter:
    """Writes rows to a temporary file, which replaces `path` when the `with` block ends without an error.

    The same rows give the same bytes.
    """

    def __init__(self, path: Path) -> None:
        if not path.name.endswith(_ENDINGS):
            raise DataError(f"{path}: unknown file ending; expected one of {', '.join(_ENDINGS)}")
        self.path, self.aside = path, path.with_name(f".{path.name}.{os.getpid()}.partial")
        self.rows = 0
        self._array = path.name.removesuffix(".gz").endswith(".json")

    def __enter__(self) -> "RowWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._raw = self.aside.open("wb")
        # No time and no name in the gzip header, so that equal rows give equal files.
        self._file: io.BufferedIOBase = self._raw
        if self.path.name.endswith(".gz"):
            self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=6, mtime=0)
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        before = "" if not self._array else "[\n" if self.rows == 0 else ",\n"
        self._file.write((before + text + ("" if self._array else "\n")).encode("utf-8"))
        self.rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._array and kind is None:
            self._file.write(b"\n]\n" if self.rows else b"[]\n")
        if self._file is not self._raw:
            self._file.close()
        if kind is None:
            self._raw.flush()
            os.fsync(self._raw.fileno())
        self._raw.close()
        if kind is None:
            self.aside.replace(self.path)
        else:
            self.aside.unlink(missing_ok=True)
