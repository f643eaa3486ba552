"""A persistent cache of an external service's replies, so that a resumed run requests (and pays for) nothing twice.

Each rank appends to its own file and reads the files of all ranks at the start. Unlike the journal it is never
truncated: a reply stays valid whatever step the run resumes from. Each reply is on disk before it is used.
"""

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from steersman.errors import SteersmanError
from steersman.runs.folder import not_written


def holds_only_replies(folder: Path) -> bool:
    """Whether a folder has files of replies only, so that it can be used and removed."""
    return folder.is_dir() and all(path.match("replies-*.jsonl") for path in folder.iterdir())


class Replies:
    """JSON objects by key, stored on disk. A half-written last line is ignored."""

    def __init__(self, folder: Path, process: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"replies-{process}.jsonl"
        self._known: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        for path in sorted(folder.glob("replies-*.jsonl")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str, /) -> Mapping[str, Any] | None:
        return self._known.get(key)

    def values(self) -> Collection[Mapping[str, Any]]:
        """All replies, for totals of what they cost."""
        return self._known.values()

    def update(self, replies: Mapping[str, Mapping[str, Any]], /) -> None:
        lines = "".join(
            json.dumps({"key": key, **value}, allow_nan=False) + "\n" for key, value in replies.items()
        ).encode()
        with self._lock:
            self._append(lines)
            self._known.update(replies)

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                self._known[row.pop("key")] = row
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # half-written by a killed process, or damaged: this reply is requested again

    def _append(self, lines: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(descriptor).st_size
        # A line that a killed process left half-written must not merge with the next one.
        half_written = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        rest = lines = b"\n" + lines if half_written else lines
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise SteersmanError(not_written(self._path, size + len(lines), error)) from error
        finally:
            os.close(descriptor)
