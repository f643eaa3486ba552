"""Which runs were trained on snapshots of projects, as far as their recipes tell."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_SOURCE = re.compile(r"studio:([A-Za-z0-9._-]+)\?[^\s\"']*?snapshot=(\d+)")
_DEEP = 4


def models_trained_on(runs: Path, snapshots: Mapping[str, Sequence[int]]) -> list[str]:
    """The run folders, somewhere in a folder, whose recipes name one of these snapshots (by project)."""
    if not snapshots or not runs.is_dir():
        return []
    found = [path for depth in range(1, _DEEP + 1) for path in runs.glob("/".join(["*"] * depth) + "/recipe.toml")]
    return sorted(str(path.parent.relative_to(runs)) for path in found if _names_one(path, snapshots))


def _names_one(recipe: Path, snapshots: Mapping[str, Sequence[int]]) -> bool:
    try:
        text = recipe.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(int(number) in snapshots.get(name, ()) for name, number in _SOURCE.findall(text))
