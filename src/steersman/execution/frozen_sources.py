"""Sources whose content changes (`studio:PROJECT`), frozen before a run reads them.

The settings of the run, and so its recipe, name a snapshot from then on. The same command later goes on with that one.
"""

import os
from collections.abc import Iterator
from typing import Any, TypeVar

from steersman.data.sources import frozen, is_live
from steersman.errors import UsageError
from steersman.execution.recorded import with_value
from steersman.runs.folder import RunFolder
from steersman.settings.base import Settings
from steersman.settings.nested import flat
from steersman.settings.toml import read_toml

S = TypeVar("S", bound=Settings)


def with_frozen_sources(settings: S, folder: RunFolder) -> S:
    """The settings with a snapshot in each source whose content changes: the one that the folder's run has recorded, or
    a new one."""
    for path, source in list(_live(settings)):
        key = ".".join(path)
        recorded = _recorded(folder).get(key)
        fixed = frozen(source, recorded if isinstance(recorded, str) else None)
        if fixed != source and recorded is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # Each process would freeze for itself, and people may label meanwhile.
            raise UsageError(f"several processes must read the same snapshot; name it: {key}={fixed}")
        settings = with_value(settings, path, fixed)
    return settings


def _recorded(folder: RunFolder) -> dict[str, Any]:
    if not folder.recipe_path.exists():
        return {}
    try:
        return flat(read_toml(folder.recipe_path))
    except UsageError:
        return {}  # refused, with a message, when the run is opened


def _live(settings: Settings, before: tuple[str, ...] = ()) -> Iterator[tuple[list[str], str]]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from _live(value, (*before, name))
        elif isinstance(value, str) and is_live(value):
            yield [*before, name], value
