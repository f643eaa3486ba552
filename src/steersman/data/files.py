"""Streaming readers of rows from files: JSON Lines, JSON, CSV, TSV, Parquet and plain text, also gzipped.

Memory does not grow with the file. A row that cannot be read becomes `Malformed` with its line, and reading continues.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from steersman.data.lines import CHUNK, KEPT, MAX_ROW_BYTES, BoundedLines, Paragraph, too_long
from steersman.errors import DataError
from steersman.records import Malformed

# A JSON value with no end within this many characters means that the file is damaged.
_MAX_VALUE = 64 << 20

Placed = Iterator[tuple[int, dict[str, Any] | Malformed]]


def open_file(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def read_file(path: Path, *, prompts: bool = False) -> Placed:
    """The rows of one file with their line numbers, from 1. In Parquet these are row numbers. With `prompts` each line
    of a plain-text file is a prompt."""
    kind = kind_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown file type; expected {', '.join(READERS)}, or one of these with .gz")
    read = read_prompt_lines if prompts and kind == ".txt" else READERS[kind]
    line = 0
    try:
        for line, row in read(path):
            yield line, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield line + 1, Malformed(str(path), line + 1, f"damaged gz file, nothing after this line can be read: {error}")


def kind_of(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in READERS if name.endswith(suffix)), None)


def parse_json(line: str) -> Any:
    """Parse standard JSON, which has no NaN and no Infinity."""
    return json.loads(line, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON: {error.msg} at character {error.pos + 1}"
    if isinstance(error, RecursionError):
        return "invalid JSON: nested too deeply"
    return f"invalid JSON: {str(error)[:100]}"


def _as_row(value: Any, source: str, line: int, raw: str) -> dict[str, Any] | Malformed:
    if isinstance(value, dict):
        return value
    return Malformed(source, line, f"not an object: a row should be {{…}}, seen {type(value).__name__}", raw[:KEPT])


def read_json_lines(path: Path) -> Placed:
    source, number = str(path), 0
    with open_file(path) as file:
        while line := file.readline(MAX_ROW_BYTES + 2):
            number += 1
            size = len(line)
            if size > MAX_ROW_BYTES and not (size == MAX_ROW_BYTES + 1 and line.endswith(b"\n")):
                while not line.endswith(b"\n") and (more := file.readline(CHUNK)):
                    size, line = size + len(more), line[:KEPT] + more[-1:]
                beginning = line[:KEPT].decode("utf-8", "replace")
                yield number, Malformed(source, number, too_long(size), beginning)
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield number, _parse_line(line, source, number)


def _parse_line(line: bytes, source: str, number: int) -> dict[str, Any] | Malformed:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Malformed(
            source, number, f"invalid UTF-8: at byte {error.start + 1}", line[:KEPT].decode("utf-8", "replace")
        )
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        return Malformed(source, number, _why(error), text[:KEPT])
    return _as_row(value, source, number, text)


class _Window:
    """A sliding window over a file's text that keeps track of the current line.

    Invalid UTF-8 bytes become lone surrogates, so that one bad string makes one row malformed and not the whole file.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def more(self, size: int = CHUNK) -> bool:
        """Read another chunk. Returns False at the end of the file."""
        if self.ended:
            return False
        chunk = self.file.read(size)
        self.ended = not chunk
        self.text = self.text[self.at :] + self.decoder.decode(chunk, final=self.ended)
        self.at = 0
        return True

    def skip(self, unwanted: str) -> str:
        """Skip these characters. Returns the next character, or "" at the end of the file."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in unwanted:
                    return self.text[self.at]
                self.line += self.text[self.at] == "\n"
                self.at += 1
            if not self.more():
                return ""

    def line_of(self, position: int) -> int:
        return self.line + self.text.count("\n", self.at, position)

    def value(self) -> tuple[Any, str]:
        """The JSON value that starts at the current position, and its raw text. Chunk sizes double, so that the total
        work for a long value is at most twice its length."""
        decoder, step = json.JSONDecoder(parse_constant=_no_constant), CHUNK
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:  # a number may continue in the next chunk
                    raw = self.text[self.at : end]
                    self.line += raw.count("\n")
                    self.at = end
                    return value, raw
            except json.JSONDecodeError:
                if self.ended or len(self.text) - self.at > _MAX_VALUE:
                    raise
            step *= 2
            self.more(step)


_SPACE = " \t\r\n"


def read_json(path: Path) -> Placed:
    """The rows of a JSON file: an array of rows, one row, an object with one list of rows, or JSON Lines."""
    with open_file(path) as file:
        window = _Window(file)
        first = window.skip(_SPACE + "\ufeff")
        if first == "[":
            window.at += 1
            yield from _read_array(window, str(path))
            return
    if first != "{":
        reason = "an empty file" if not first else f"invalid JSON: a file of rows begins with [ or {{, not {first!r}"
        yield 1, Malformed(str(path), 1, reason)
    elif _first_line_is_whole(path):
        yield from read_json_lines(path)
    else:
        yield from _read_object(path)


def _first_line_is_whole(path: Path) -> bool:
    """Whether the file is JSON Lines: its first line is a complete object, or, if that is malformed, its second."""
    with open_file(path) as file:
        for line in (file.readline(MAX_ROW_BYTES), file.readline(MAX_ROW_BYTES)):
            try:
                if isinstance(json.loads(line.decode("utf-8-sig")), dict):
                    return True
            except ValueError:
                continue
    return False


def _read_object(path: Path) -> Placed:
    """A file with one object over many lines: a single row, or an object with one list of rows."""
    with open_file(path) as file:
        window = _Window(file)
        window.skip(_SPACE + "\ufeff")
        try:
            value, raw = window.value()
        except (ValueError, RecursionError) as error:
            yield 1, Malformed(str(path), 1, _why(error), window.text[:KEPT])
            return
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(item, dict) for item in v)]
    if len(value) == 1 and len(lists) == 1:
        yield from ((i, row) for i, row in enumerate(lists[0], 1))
    else:
        yield 1, value if len(raw) <= MAX_ROW_BYTES else Malformed(str(path), 1, too_long(len(raw)), raw[:KEPT])


def _read_array(window: _Window, source: str) -> Placed:
    """The elements of an array, after its opening bracket."""
    while True:
        found = window.skip(_SPACE + ",")
        line = window.line
        if found == "]":
            return
        if not found:
            yield line, Malformed(source, line, "invalid JSON: the array does not end")
            return
        try:
            value, raw = window.value()
        except (ValueError, RecursionError) as error:
            beginning = window.text[window.at : window.at + KEPT]
            place = f" on line {window.line_of(error.pos)}" if isinstance(error, json.JSONDecodeError) else ""
            reason = f"{_why(error).split(' at character')[0]}{place}; the rest of the array cannot be read"
            yield line, Malformed(source, line, reason, beginning)
            return
        size = len(raw) if raw.isascii() else len(raw.encode("utf-8", "surrogateescape"))
        over = size > MAX_ROW_BYTES
        yield line, Malformed(source, line, too_long(size), raw[:KEPT]) if over else _as_row(value, source, line, raw)


def _read_table(path: Path, separator: str) -> Placed:
    source = str(path)
    csv.field_size_limit(MAX_ROW_BYTES)
    with open_file(path) as binary, _text_lines(binary) as text:
        lines = BoundedLines(text)
        reader = csv.reader(lines, delimiter=separator)
        header: list[str] | None = None
        line = 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Malformed(source, line, f"invalid CSV: {error}")
                lines.too_long, line = 0, reader.line_num + 1
                continue
            if lines.too_long:
                yield line, Malformed(source, line, too_long(lines.too_long), separator.join(cells)[:KEPT])
                lines.too_long, line = 0, reader.line_num + 1
                continue
            if header is None:
                header = cells
            elif len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            elif cells:
                reason = f"invalid CSV: {len(cells)} cells where the header has {len(header)}"
                yield line, Malformed(source, line, reason, separator.join(cells)[:KEPT])
            line = reader.line_num + 1


def _text_lines(binary: Any) -> io.TextIOWrapper:
    """Lines with their line ends (\\n, \\r\\n or \\r), which csv needs. Invalid UTF-8 becomes lone surrogates."""
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_parquet(path: Path) -> Placed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".gz":
        raise DataError(f"{path}: gzipped Parquet cannot be read; unpack the .gz first")
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read: {error}") from error
    number = 0
    try:
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    # What a damaged page raises depends on the byte: errors of pyarrow, of its decompressors, of text, numbers, dates.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = f"damaged Parquet file, nothing after row {number} can be read: {str(error).strip()[:200]}"
        yield number + 1, Malformed(str(path), number + 1, reason)


def read_paragraphs(path: Path) -> Placed:
    """The rows of a plain-text file: each paragraph (text between blank lines) is a row with the field `text`."""
    with open_file(path) as binary, _text_lines(binary) as text:
        lines, block = BoundedLines(text), Paragraph(str(path))
        for number, line in enumerate(lines, 1):
            if line.strip():
                block.add(number, line, lines.too_long)
                lines.too_long = 0
            elif block.size:
                yield block.end()
        if block.size:
            yield block.end()


def read_prompt_lines(path: Path) -> Placed:
    """The rows of a plain-text file of prompts: each line that is not blank is a row with the field `prompt`."""
    with open_file(path) as binary, _text_lines(binary) as text:
        lines = BoundedLines(text)
        for number, line in enumerate(lines, 1):
            if lines.too_long:
                yield number, Malformed(str(path), number, too_long(lines.too_long), line[:KEPT])
                lines.too_long = 0
            elif line.strip():
                yield number, {"prompt": line.strip()}


READERS: dict[str, Callable[[Path], Placed]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": lambda path: _read_table(path, ","),
    ".tsv": lambda path: _read_table(path, "\t"),
    ".parquet": read_parquet,
    ".txt": read_paragraphs,
}
