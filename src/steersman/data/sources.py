"""Data sources: a file, a folder of files, a folder saved by `datasets`, the Hugging Face hub, or a named source.

A source is one string, as in a recipe:
    data/pairs.jsonl.gz   data/   saved_dataset/   hf:owner/name/config   owner/name
    harbour:comparisons?count=4000&seed=1
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from steersman.data.files import Placed, kind_of, read_file
from steersman.errors import DataError, UsageError
from steersman.records import KIND_OF, Malformed, Record, to_dict

Opener = Callable[[str], Iterable[Record | Mapping[str, Any]]]
_OPENERS: dict[str, Opener] = {}
RUN_ROWS = ("critiques", "prompts.jsonl", "answers.jsonl")
"""Where a run's folder holds records, the first that is there: its other files (the journal, samples) are none."""
_LIVE: dict[str, "LiveSource"] = {}
_HUB = re.compile(r"[\w.-]+/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One part of a source (usually a file), and its rows with line numbers."""

    name: str
    rows: Placed


@dataclass(frozen=True, slots=True)
class LiveSource:
    """What is known of a named source whose content changes. Each function gets what follows `scheme:`.

    `freeze` gives the source that stays as it is now. `going_on` gives that of a run that has recorded one (None if it
    is of another source). `content` is a hash of what the source holds.
    """

    freeze: Callable[[str], str]
    going_on: Callable[[str, str], str | None]
    content: Callable[[str], str]


def register(scheme: str, opener: Opener, live: LiveSource | None = None) -> None:
    """Register the named source `scheme:`. For `scheme:rest`, the opener gets the rest and returns records or rows.
    `live` is for a source whose content changes."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]+", scheme) or scheme == "hf":
        raise UsageError(f"a source's name needs two or more lower-case letters and must not be 'hf'; seen {scheme!r}")
    _OPENERS[scheme] = opener
    _LIVE.pop(scheme, None)
    if live is not None:
        _LIVE[scheme] = live


def is_live(source: str) -> bool:
    """Whether the content of a source changes by itself, as that of `studio:` does."""
    return source.partition(":")[0] in _LIVE


def frozen(source: str, recorded: str | None = None) -> str:
    """The source as it is now, which stays the same; for a run that has recorded one, that one."""
    scheme, _, rest = source.partition(":")
    if scheme not in _LIVE:
        return source
    before = recorded.partition(":") if recorded else ("", "", "")
    found = _LIVE[scheme].going_on(rest, before[2]) if before[0] == scheme else None
    return found or _LIVE[scheme].freeze(rest)


def registered() -> tuple[str, ...]:
    return tuple(_OPENERS)


def parse_rest(rest: str) -> tuple[str, dict[str, str]]:
    """The name and settings in an opener's argument, such as "comparisons?count=4000&seed=1"."""
    name, _, query = rest.partition("?")
    return name, dict(parse_qsl(query, keep_blank_values=True))


def open_rows(source: str, *, split: str | None = None) -> Iterator[tuple[int, dict[str, Any] | Malformed]]:
    """The rows of a source with their line numbers, streaming."""
    for part in open_parts(source, split=split):
        yield from part.rows


def open_parts(source: str, *, split: str | None = None, prompts: bool = False) -> Iterator[SourcePart]:
    """The parts of a source. A source that does not exist is a DataError before the first row. With `prompts` each
    line of a plain-text file is a prompt."""
    scheme, colon, rest = source.partition(":")
    path = Path(source).expanduser()
    if colon and scheme in _OPENERS:
        return iter([SourcePart(source, _registered_rows(_OPENERS[scheme](rest)))])
    if colon and scheme == "hf":
        return iter([SourcePart(source, _hub_rows(rest, split))])
    if path.is_file():
        return iter([_file_part(path, prompts=prompts)])
    if path.is_dir():
        return _folder_parts(path, split)
    if kind_of(path) is None and _HUB.fullmatch(source):
        return iter([SourcePart(source, _hub_rows(source, split))])
    known = f"; named sources: {', '.join(f'{name}:' for name in _OPENERS)}" if _OPENERS else ""
    raise DataError(
        f"there is no source {source!r}; expected a file, a folder, a dataset of the hub as owner/name or "
        f"hf:owner/name{known}"
    )


def _rows_of_run(folder: Path) -> Path | None:
    """Where a run's folder holds records; None for a folder that is no run, or has none."""
    if not (folder / "stamp.json").exists():
        return None
    return next((folder / name for name in RUN_ROWS if (folder / name).exists()), None)


def _file_part(path: Path, *, prompts: bool) -> SourcePart:
    if kind_of(path) is None:
        hint = (
            "unpack it first (zstd -d)"
            if path.suffix == ".zst"
            else "expected .jsonl .json .csv .tsv .parquet .txt, or .gz of these"
        )
        raise DataError(f"{path}: unknown file type; {hint}")
    return SourcePart(str(path), read_file(path, prompts=prompts))


def _registered_rows(rows: Iterable[Any]) -> Placed:
    for number, row in enumerate(rows, 1):
        yield number, dict(row) if isinstance(row, Mapping) else to_dict(row) if type(row) in KIND_OF else _refuse(row)


def _refuse(row: Any) -> dict[str, Any]:
    raise DataError(f"a named source returned a {type(row).__name__}; expected records or dictionaries")


def _folder_parts(folder: Path, split: str | None) -> Iterator[SourcePart]:
    rows = _rows_of_run(folder)
    if rows is not None:
        return _folder_parts(rows, split) if rows.is_dir() else iter([_file_part(rows, prompts=False)])
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        return iter([SourcePart(str(folder), _saved_rows(folder, split))])
    files = files_of(folder)
    if split is not None:
        files = [file for file in files if split in re.split(r"[^A-Za-z0-9]+", file.relative_to(folder).as_posix())]
    if not files:
        wanted = f" of the split {split!r}" if split else ""
        raise DataError(
            f"{folder}: no files with rows{wanted}; expected .jsonl, .json, .csv, .tsv, .parquet or .gz of these"
        )
    return (_file_part(file, prompts=False) for file in files)


def files_of(folder: Path) -> list[Path]:
    """The data files in a folder, sorted by name. Hidden files are ignored."""
    found = (f for f in folder.rglob("*") if f.is_file() and kind_of(f) not in (None, ".txt"))
    return sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts))


def _saved_rows(folder: Path, split: str | None) -> Placed:
    import datasets

    found = datasets.load_from_disk(str(folder))
    if isinstance(found, datasets.DatasetDict):
        name = split or ("train" if "train" in found else next(iter(found)) if len(found) == 1 else "")
        if name not in found:
            raise DataError(f"{folder} has the splits {', '.join(map(str, found))}; choose one with the setting split")
        found = found[name]
    return _numbered(found.iter(batch_size=256))


def _numbered(batches: Iterable[Any]) -> Placed:
    number = 0
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield number, dict(zip(batch, values, strict=True))


def _hub_rows(name: str, split: str | None) -> Placed:
    """The rows of a hub dataset, streaming. Only data files are read: `datasets` runs no code from a repository."""
    import datasets

    pieces = name.split("/")
    repository, config = "/".join(pieces[:2]), "/".join(pieces[2:]) or None
    try:
        found = datasets.load_dataset(repository, config, split=split or "train", streaming=True)
        yield from _numbered(found.iter(batch_size=256))
    except Exception as error:  # the hub's library raises many types; all mean the same to the user
        raise DataError(
            f"the dataset {name!r} could not be read from the hub: {type(error).__name__}: {str(error)[:200]}. Without "
            "a network, save it on another machine with `dataset.save_to_disk(folder)` and give the folder"
        ) from error


def content_hash(source: str) -> str:
    """The SHA-256 of a source's content: of its files' bytes, or of its name if it is not a file or folder. A live
    source says itself what it holds."""
    scheme, _, rest = source.partition(":")
    if scheme in _LIVE:
        return _LIVE[scheme].content(rest)
    path, digest = Path(source).expanduser(), hashlib.sha256()
    if path.is_file():
        files = [path]
    elif path.is_dir():
        path = _rows_of_run(path) or path
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    else:
        return hashlib.sha256(source.encode()).hexdigest()
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
