"""The manifest of a checkpoint: every file's size and SHA-256, the step, the facts, and the manifest's own hash.

torch.save, safetensors and distributed checkpoints all load a flipped bit in their numbers without an error; only the
manifest detects it. Its text is canonical: a manifest that differs from what `render` makes of its content, even in a
blank or the case of a letter, is damaged.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from steersman.errors import CheckpointError

MANIFEST = "manifest.json"
FORMAT = 1


def render(content: Mapping[str, Any]) -> bytes:
    """The canonical text of a manifest. Its field `self` is the hash of all other fields."""
    rest = {name: value for name, value in content.items() if name != "self"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()
    return (json.dumps({**rest, "self": digest}, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def make_manifest(folder: Path, step: int, facts: Mapping[str, Any]) -> bytes:
    """The manifest of the files that are in `folder` now."""
    names = _names(folder)
    if MANIFEST in names:
        raise CheckpointError(
            f"{folder / MANIFEST} was written by the run itself, but that name is reserved. Use another file name."
        )
    files = {
        name: {"size": _size(folder / name), "sha256": digest} for name, digest in _hash_all(folder, names).items()
    }
    try:
        return render({"format": FORMAT, "step": step, "facts": dict(facts), "files": files})
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the facts of checkpoint {step} cannot be written as JSON: {error}. Numbers must be finite, keys strings."
        ) from error


def parse(raw: bytes) -> dict[str, Any]:
    """The content of a manifest that `render` wrote. Raises ValueError if any bit differs."""
    try:
        content = json.loads(raw)
        whole = isinstance(content, dict) and raw == render(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"unreadable ({error})") from error
    if not whole:
        raise ValueError("altered (its own hash does not match)")
    return content


def read_manifest(folder: Path) -> dict[str, Any]:
    """The verified content of a checkpoint's manifest. Raises ValueError, with the reason, if it is damaged."""
    try:
        content = parse((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{MANIFEST}: missing") from error
    except OSError as error:
        raise ValueError(f"{MANIFEST}: unreadable ({error})") from error
    except ValueError as error:
        raise ValueError(f"{MANIFEST}: {error}") from error
    if content.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST}: format {content.get('format')!r}; this version of Steersman reads {FORMAT}")
    return content


def find_problems(folder: Path, step: int, *, contents: bool) -> list[str]:
    """The problems of a checkpoint, one line per file. `contents=False` checks names and sizes only, no hashes."""
    try:
        manifest = read_manifest(folder)
        names = set(_names(folder)) - {MANIFEST}
    except ValueError as error:
        return [str(error)]
    except (OSError, CheckpointError) as error:
        return [f"{folder.name}: unreadable ({error})"]
    problems = [] if manifest["step"] == step else [f"{MANIFEST}: belongs to step {manifest['step']}, not {step}"]
    files: dict[str, dict[str, Any]] = manifest["files"]
    problems += [f"{name}: missing" for name in sorted(files.keys() - names)]
    problems += [f"{name}: not in the manifest" for name in sorted(names - files.keys())]
    right_size: list[str] = []
    for name in sorted(files.keys() & names):
        size, promised = _size(folder / name), files[name]["size"]
        if size == promised:
            right_size.append(name)
        else:
            problems.append(f"{name}: {size:,} bytes instead of {promised:,}")
    if contents:
        hashes = _hash_all(folder, right_size)
        problems += [f"{name}: contents altered" for name in right_size if hashes[name] != files[name]["sha256"]]
    return problems


def total_bytes(folder: Path) -> int:
    """The total size in bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _names(folder: Path) -> list[str]:
    names: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CheckpointError(
                f"{path} is a link or a device; a checkpoint must hold plain files. Copy what it points to."
            )
        if path.is_file():
            names.append(path.relative_to(folder).as_posix())
    return names


def _size(path: Path) -> int:
    return path.stat().st_size


def _hash_all(folder: Path, names: list[str]) -> dict[str, str]:
    # hashlib releases the GIL, so threads hash large files in parallel.
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            return dict(zip(names, pool.map(lambda name: _hash(folder / name), names), strict=True))
    except RuntimeError:  # there is no memory for a thread's stack
        return {name: _hash(folder / name) for name in names}


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        # A file that cannot be read is damaged. This text matches no hash and names the reason.
        return f"unreadable: {error.strerror}"
