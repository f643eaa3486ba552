"""Lines and paragraphs of a text with a limit on their length: one endless line must not fill the memory."""

import io
from collections.abc import Iterator
from typing import Any

from steersman.records import Malformed

MAX_ROW_BYTES = 1_000_000
KEPT = 4_000  # characters of a malformed row kept for the quarantine file
CHUNK = 1 << 16


def too_long(size: int) -> str:
    return f"too long: {size:,} bytes where {MAX_ROW_BYTES:,} are allowed"


class BoundedLines:
    """The lines of a text, with their line ends. A line over the limit is cut, and `too_long` is its length."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self.too_long = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_ROW_BYTES + 1):
            if len(line) > MAX_ROW_BYTES and not line.endswith(("\n", "\r")):
                self.too_long = len(line)
                while not line.endswith(("\n", "\r")) and (more := self._text.readline(CHUNK)):
                    self.too_long += len(more)
                    line = line[:KEPT] + more[-1:]
            yield line


class Paragraph:
    """The lines of a paragraph so far. Those over the limit are counted and not kept."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: list[str] = []
        self._begun = self.size = 0

    def add(self, number: int, line: str, too_long: int) -> None:
        self._begun = self._begun if self.size else number
        self.size += too_long or len(line)
        if self.size <= MAX_ROW_BYTES or not self._lines:
            self._lines.append(line.rstrip("\r\n"))

    def end(self) -> tuple[int, dict[str, Any] | Malformed]:
        text, size = "\n".join(self._lines), self.size
        self._lines, self.size = [], 0
        if size > MAX_ROW_BYTES:
            return self._begun, Malformed(self._source, self._begun, too_long(size), text[:KEPT])
        return self._begun, {"text": text}
