"""A folder that is written aside, checked, and only then put in its place. Nothing is overwritten."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steersman.errors import ModelError, UsageError

FORGOTTEN = ("_name_or_path", "name_or_path")
"""Keys of JSON files that hold where a model was loaded from."""


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Context manager with an empty folder, which becomes `out` if the block ends well, and is removed otherwise."""
    if out.exists():
        raise UsageError(
            f"{out} is there already, and nothing is overwritten; choose another --out, or remove it first"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    try:
        yield aside
        aside.rename(out)
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def forget_places(folder: Path, places: list[str]) -> None:
    """Take out of the folder's JSON files where its model came from. Raises if a path of this machine is left."""
    for file in sorted(folder.glob("*.json")):
        if file.stat().st_size > 2**20:
            continue  # a vocabulary
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and any(key in content for key in FORGOTTEN):
            kept = {key: value for key, value in content.items() if key not in FORGOTTEN}
            file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        left = file.read_text(encoding="utf-8")
        found = next((place for place in places if place.startswith(("/", "~")) and place in left), None)
        if found is not None:
            raise ModelError(f"{file.name} still names the local path {found}; this is a fault of the export")
