"""What a run stands on, by content: the identity of a model is its name and a hash of all its files.

Runs of version 0.2 have identities of a file's first 64 KB, and scorers by name alone; `same_as_before` knows these.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import ModelError
from steersman.runs.hashes import known_hashes
from steersman.runs.model_folder import model_folder

_MARK = " sha256:"
_OF_BEGINNINGS = re.compile(r"(.*) [0-9a-f]{16}", re.DOTALL)


def identity_of(model: str) -> str:
    """A model's name and, for a folder, a hash of its files' names and whole contents.

    For an adapter, the content of its base model counts too.
    """
    return _with_hash(model, [model])


def scorer_identity(name: str, places: Sequence[str]) -> str:
    """A scorer's name and a hash of the model folders among its places. Functions and services are their name."""
    return _with_hash(name, places)


def _with_hash(name: str, places: Sequence[str]) -> str:
    content = [(place, digest) for place in places if (digest := content_of(place))]
    if not content:
        return name
    digest = content[0][1] if len(places) == 1 else _digest(*(f"{place} {each}" for place, each in content))
    return f"{name}{_MARK}{digest[:32]}"


def content_of(place: str) -> str | None:
    """A hash of the files of a model's folder; None if `place` is no folder."""
    folder = model_folder(place)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        hashes = known_hashes(files)
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}; check the file's permissions") from error
    parts = [f"{file.relative_to(folder).as_posix()}\0{digest}" for file, digest in zip(files, hashes, strict=True)]
    base = _base_of(folder)
    # An adapter that names itself as its base would never end.
    if base is not None and model_folder(base).resolve() != folder.resolve():
        parts.append(f"base\0{content_of(base) or base}")
    return _digest(*parts)


def _base_of(folder: Path) -> str | None:
    try:
        config: Any = json.loads((folder / "adapter_config.json").read_bytes())
    except (OSError, ValueError):
        return None
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return base if isinstance(base, str) and base else None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def name_in(identity: str) -> str:
    """The name in an identity of either kind."""
    name, mark, _ = identity.partition(_MARK)
    if mark:
        return name
    old = _OF_BEGINNINGS.fullmatch(identity)
    return old[1] if old else identity


def same_as_before(before: str, now: str) -> bool:
    """Whether an identity stamped by version 0.2 is of the model that `now` identifies, as far as it can tell."""
    if _MARK in before or _MARK not in now:
        return False
    name = name_in(now)
    return before in (name, _identity_of_beginnings(name))


def upgraded(before: Mapping[str, Any], now: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Stamped parents with today's identity in place of an old one that fits, and the names of those."""
    fits = [name for name, old in before.items() if name in now and same_as_before(str(old), now[name])]
    return {**before, **{name: now[name] for name in fits}}, fits


def _identity_of_beginnings(model: str) -> str:
    """The identity that version 0.2 gave: of files' names, sizes and first 64 KB."""
    folder, digest = model_folder(model), hashlib.sha256()
    if not folder.is_dir():
        return model
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            beginning = stream.read(2**16)
        digest.update(
            f"{file.relative_to(folder)} {file.stat().st_size} ".encode() + hashlib.sha256(beginning).digest()
        )
    return f"{model} {digest.hexdigest()[:16]}"
