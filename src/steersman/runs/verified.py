"""Finished models are sealed with a checkpoint's manifest and verified when they are loaded.

safetensors loads a flipped bit in a weight without an error; only the manifest detects it. A folder without a manifest
of ours (a model from elsewhere, or of version 0.2) is not verified. Files that were added later are ignored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from steersman.errors import ModelError
from steersman.runs.folder import atomic_write_bytes
from steersman.runs.hashes import known_hashes
from steersman.runs.manifest import MANIFEST, make_manifest, read_manifest

_wanted: ContextVar[bool] = ContextVar("verification", default=True)


@contextmanager
def verification(wanted: bool) -> Iterator[None]:
    """Context manager: inside the block models are verified when they are loaded, or not."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def seal(folder: Path, step: int, facts: Mapping[str, Any]) -> None:
    """Write the manifest of a finished model's files into its folder."""
    (folder / MANIFEST).unlink(missing_ok=True)
    atomic_write_bytes(folder / MANIFEST, make_manifest(folder, step, facts))


def verify_model(folder: Path) -> None:
    """Raise ModelError if a sealed model's files are not those that were written."""
    if not _wanted.get() or not _is_ours(folder / MANIFEST):
        return
    problems = model_problems(folder)
    if problems:
        raise ModelError(
            f"the model in {str(folder)!r} is damaged or was changed after it was saved: {'; '.join(problems)}. Use "
            f"another copy, or run its run's command again without this folder. If you changed it on purpose, delete "
            f"its {MANIFEST}; --no-verify loads it as it is"
        )


def model_problems(folder: Path) -> list[str]:
    """What differs from the manifest, one line per file; empty if the model is as it was written."""
    try:
        files: dict[str, dict[str, Any]] = read_manifest(folder)["files"]
    except ValueError as error:
        return [str(error)]
    problems = [f"{name}: missing" for name in sorted(files) if not (folder / name).is_file()]
    there = [name for name in sorted(files) if (folder / name).is_file()]
    sizes = {name: (folder / name).stat().st_size for name in there}
    problems += [
        f"{name}: {sizes[name]:,} bytes instead of {files[name]['size']:,}"
        for name in there
        if sizes[name] != files[name]["size"]
    ]
    right_size = [name for name in there if sizes[name] == files[name]["size"]]
    try:
        # Damage on the disk does not change a file's times, so hashes that were stored earlier are not used.
        hashes = known_hashes([folder / name for name in right_size], stored=False)
    except OSError as error:
        return [*problems, f"{error.filename}: unreadable ({error.strerror})"]
    return problems + [
        f"{name}: contents altered"
        for name, digest in zip(right_size, hashes, strict=True)
        if digest != files[name]["sha256"]
    ]


def _is_ours(manifest: Path) -> bool:
    """Whether this is a manifest of ours, be it damaged: other programs have files of this name, too."""
    try:
        raw = manifest.read_bytes()
    except OSError:
        return False
    return sum(mark in raw for mark in (b'"self"', b'"sha256"', b'"format"', b'"facts"')) >= 2
