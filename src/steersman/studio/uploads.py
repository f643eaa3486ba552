"""Files that admins upload: kept aside under random names, shown with their columns, then imported.

A file's own name is shown, and never used as a path.
"""

import itertools
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from steersman.data.columns import Columns
from steersman.data.formats.registry import detect
from steersman.data.load import ReadReport
from steersman.data.sources import open_rows
from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Malformed
from steersman.store.content import Content
from steersman.store.imports import Wishes, arriving_of, import_source
from steersman.store.projects import Project
from steersman.studio.rendering import safe_html
from steersman.studio.tasks import messages_of

ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".csv", ".parquet")
SHOWN_ROWS, SHOWN_LETTERS = 5, 300
PREVIEWED, EXAMPLES = 40, 3
"""What is read for a preview, and how many tasks of it are shown."""
KEPT = 24 * 3600.0
"""Seconds that a file is kept for its import."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was uploaded to a project by a person."""

    id: str
    path: Path
    name: str
    project_id: int
    person_id: int
    time: float


class Uploads:
    """The uploaded files of a running studio, in a folder that goes when it stops."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="steersman-uploads-"))
        self._lock = threading.Lock()
        self._known: dict[str, Upload] = {}

    def keep(self, name: str, content: BinaryIO, found: Project, person_id: int) -> Upload:
        ending = next((one for one in ENDINGS if name.lower().endswith(one)), None)
        if ending is None:
            raise UsageError(f"a file to import ends in {', '.join(ENDINGS)}; seen {name[-40:]!r}")
        self._forget_old()
        key = secrets.token_hex(16)
        path = self._folder / f"{key}{ending}"
        with path.open("wb") as target:
            shutil.copyfileobj(content, target)
        kept = Upload(key, path, name, found.id, person_id, time.monotonic())
        with self._lock:
            self._known[key] = kept
        return kept

    def find(self, key: str, found: Project, person_id: int) -> Upload:
        with self._lock:
            kept = self._known.get(key)
        if kept is None or (kept.project_id, kept.person_id) != (found.id, person_id):
            raise UsageError("there is no such file; upload it again")
        return kept

    def _forget_old(self) -> None:
        with self._lock:
            old = [one for one in self._known.values() if time.monotonic() - one.time > KEPT]
            for one in old:
                del self._known[one.id]
        for one in old:
            one.path.unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def preview(kept: Upload) -> dict[str, Any]:
    """What a file holds: its format, if it is one that is known, its columns, and its first rows."""
    rows, bad = _first_rows(kept)
    try:
        format = detect(rows).name if rows else ""
    except DataError:
        format = ""
    columns = list(dict.fromkeys(_short(name) for row in rows for name in row))
    shown = [{_short(name): _short(value) for name, value in row.items()} for row in rows[:SHOWN_ROWS]]
    return {"file": kept.id, "name": _short(kept.name), "format": format, "columns": columns, "rows": shown, "bad": bad}


def _first_rows(kept: Upload) -> tuple[list[dict[str, Any]], str]:
    rows: list[dict[str, Any]] = []
    bad = ""
    for number, (_, row) in enumerate(open_rows(str(kept.path))):
        if isinstance(row, Malformed):
            bad = bad or f"row {row.line}: {row.reason}"
        else:
            rows.append(row)
        if number >= 19:
            break
    return rows, bad


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "replace").decode()  # bytes that were no UTF-8
    return text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS] + "…"


def import_upload(
    found: Project, kept: Upload, wishes: Wishes, *, format: str | Columns | None = None
) -> dict[str, Any]:
    """Import an uploaded file, in its format or by its columns. Returns counts."""
    with _by_its_name(kept):
        report = import_source(found, str(kept.path), wishes, format=format)
    return _told(report.as_dict(), kept)


def preview_import(kept: Upload, wishes: Wishes, *, format: str | Columns | None = None) -> dict[str, Any]:
    """What an import would bring, from the first rows: counts, and some tasks as people would see them."""
    read = ReadReport()
    with _by_its_name(kept):
        arriving = list(itertools.islice(arriving_of(str(kept.path), wishes, read, format=format), PREVIEWED))
    tasks = [one.item for one in arriving if one.item.overlap]
    labels = [one for one in arriving if one.judged is not None]
    shown = tasks or [one.item for one in labels] or [one.item for one in arriving]
    counts = {"rows": read.rows, "records": read.records, "labels": len(labels), "tasks": len(tasks)}
    return _told(
        {
            **counts,
            "whole": len(arriving) < PREVIEWED,
            "kinds": dict(read.kinds),
            "examples": [_example(one.content) for one in shown[:EXAMPLES]],
            "read": read.as_dict(),
        },
        kept,
    )


def _example(content: Content) -> dict[str, Any]:
    prompt = [] if content.prompt is None else messages_of(content.prompt)
    answers = [{"text": one.text, "html": safe_html(one.text), "model": one.model} for one in content.completions]
    return {"kind": content.kind, "prompt": prompt, "answers": answers}


@contextmanager
def _by_its_name(kept: Upload) -> Iterator[None]:
    """Within it, errors name the file as its owner does."""
    try:
        yield
    except SteersmanError as error:
        raise type(error)(str(error).replace(str(kept.path), kept.name)) from error


def _told(told: dict[str, Any], kept: Upload) -> dict[str, Any]:
    told["read"]["source"] = kept.name
    return _without_path(told, str(kept.path), kept.name)


def _without_path(told: Any, path: str, name: str) -> Any:
    """The report with the file's own name in place of where it lies."""
    if isinstance(told, str):
        return told.replace(path, name)
    if isinstance(told, Mapping):
        return {_without_path(key, path, name): _without_path(value, path, name) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [_without_path(one, path, name) for one in told]
    return told
