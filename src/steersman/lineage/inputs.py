"""What settings name, by content: files, models' folders, projects of the store, and the embedded example."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.runs.folder import RunFolder
from steersman.runs.hashes import known_hashes
from steersman.runs.identity import content_of
from steersman.settings.base import Settings

EMBEDDED, PROJECT = "harbour:", "studio:"
NAMES_NO_CONTENT = {"project", "file", "round", "reason", "until"}
"""Settings that name what people write to while a stage waits, and settings that only look like a file's name."""
OUTPUTS = {"out", "run.out"}


@dataclass(frozen=True, slots=True)
class Input:
    """What one setting named: the name as it was given, and a hash of the content that it had."""

    setting: str
    name: str
    content: str


def inputs_of(settings: Settings) -> tuple[Input, ...]:
    """Everything with a content that the settings name, in the order of the settings."""
    found: dict[Input, None] = {}
    for key, value, names_something in flat_settings(settings):
        if key in OUTPUTS or key in NAMES_NO_CONTENT or not names_something:
            continue
        for text in texts_in(value):
            content = content_named(text)
            if content:
                found[Input(key, text, content)] = None
    return tuple(found)


def flat_settings(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Each setting by dotted name, with its value as JSON has it, and whether a text in it may name a file: not where
    it is one of a few choices."""
    dumped = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        groups = value if isinstance(value, Mapping) else {"": value}
        if groups and all(isinstance(group, Settings) for group in groups.values()):
            for key, group in groups.items():
                yield from flat_settings(group, f"{prefix}{name}.{key}." if key else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", dumped[name], "Literal" not in str(field.annotation)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)


def content_named(text: str, base: Path | None = None) -> str | None:
    """A hash of the file, folder or project that a text names; None if it names none. Relative names begin from `base`,
    or else from the present folder."""
    if text.startswith(EMBEDDED):
        digest = _digest_of_files(Path(__file__).parents[1] / "harbour")
        # Rows are made on demand: what the query asks for is part of their content.
        return hashlib.sha256(f"{digest}\0{text}".encode()).hexdigest()
    if text.startswith(PROJECT):
        from steersman.store.sources import content_of_source

        return content_of_source(text.removeprefix(PROJECT))
    path = path_named(text, base)
    return None if path is None else content_at(path)


def path_named(text: str, base: Path | None = None) -> Path | None:
    """The file or folder that a text names, alone or before a query or a function's name; None if there is none."""
    for candidate in dict.fromkeys([text, text.partition("?")[0], text.rpartition(":")[0], text.partition(":")[2]]):
        path = (base or Path()) / Path(candidate).expanduser() if candidate else None
        if path is not None and _is_there(path):
            return path
    return None


def content_at(path: Path) -> str | None:
    """A hash of a file, of a model's folder, or of the rows that a run without a model left."""
    if path.is_file():
        return known_hashes([path])[0]
    found = content_of(str(path))
    rows = None if found is not None or not RunFolder(path).is_run else rows_of_run(path)
    return known_hashes([rows])[0] if rows is not None else found


def rows_of_run(folder: Path) -> Path | None:
    """The file of rows that a run's folder stands for as a source of data."""
    from steersman.data.sources import RUN_ROWS

    return next((folder / name for name in RUN_ROWS if (folder / name).is_file()), None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _digest_of_files(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    parts = [
        f"{p.relative_to(folder).as_posix()}\0{digest}" for p, digest in zip(files, known_hashes(files), strict=True)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
