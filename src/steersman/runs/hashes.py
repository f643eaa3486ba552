"""SHA-256 of whole files. A large file that has not changed is read once per machine.

A file's hash is stored under its path with its size, times and inode. If one of them differs, or the file was written
in the last seconds (a later write could leave the same times), it is read again. The cache is optional: where it cannot
be written, files are read.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from steersman.errors import SteersmanError
from steersman.runs.folder import atomic_write_text

WORTH_STORING = 1 << 23
"""Smaller files are read faster than a cache is kept for them."""
SETTLED = 3.0
"""Seconds since a file's last change, after which its times tell whether it has changed."""

_in_this_process: dict[tuple[object, ...], str] = {}


def hash_of(path: Path) -> str:
    """The SHA-256 of a file's content, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_hash(path: Path, *, stored: bool = True) -> str:
    """The SHA-256 of a file's content. It is read unless this process, or with `stored` this machine, has read it."""
    path = path.resolve()
    before = _marks(path)
    key = (str(path), *before.values())
    if key in _in_this_process:
        return _in_this_process[key]
    entry = _entry(path) if before["size"] >= WORTH_STORING else None
    found = _read(entry, path, before) if stored and entry is not None else None
    if found is None:
        found = hash_of(path)
        if time.time() - max(before["modified"], before["changed"]) / 1e9 < SETTLED or _marks(path) != before:
            return found
        if entry is not None:
            _write(entry, {"path": str(path), **before, "sha256": found})
    _in_this_process[key] = found
    return found


def known_hashes(paths: Sequence[Path], *, stored: bool = True) -> list[str]:
    """`known_hash` of several files, read at the same time: hashlib releases the interpreter's lock."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: known_hash(path, stored=stored), paths))


def _marks(path: Path) -> dict[str, int]:
    seen = path.stat()
    return {
        "size": seen.st_size,
        "modified": seen.st_mtime_ns,
        "changed": seen.st_ctime_ns,
        "inode": seen.st_ino,
        "device": seen.st_dev,
    }


def _entry(path: Path) -> Path | None:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home folder
        return None
    return cache / "steersman" / "hashes" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _read(entry: Path, path: Path, marks: dict[str, int]) -> str | None:
    try:
        stored: Any = json.loads(entry.read_bytes())
    except (OSError, ValueError):
        return None
    expected = {"path": str(path), **marks}
    if not isinstance(stored, dict) or {name: stored.get(name) for name in expected} != expected:
        return None
    digest = stored.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _write(entry: Path, content: dict[str, Any]) -> None:
    with suppress(OSError, SteersmanError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(entry, json.dumps(content))
