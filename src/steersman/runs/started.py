"""The folder that a run was started from, which the relative paths in its recipe begin from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def started_from(folder: Path, recipe: Mapping[str, Any]) -> Path:
    """The folder that `run.out` leads from to the run's folder; or else the nearest folder above the run in which the
    model that it began from is found; or else the present one."""
    here = folder.resolve()
    out = Path(str(recipe.get("run", {}).get("out", "")))
    if out.parts and not out.is_absolute() and ".." not in out.parts and here.parts[-len(out.parts) :] == out.parts:
        return here.parents[len(out.parts) - 1]
    model = recipe.get("model", {})
    start = Path(str(model.get("path", "") if isinstance(model, Mapping) else model))
    if start.parts and not start.is_absolute() and not start.exists():
        return next((above for above in here.parents if (above / start).is_dir()), Path.cwd())
    return Path.cwd()
