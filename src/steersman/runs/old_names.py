"""Names that changed in 0.2. Old journals and checkpoints are still read, for one release; their names are mapped."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "ended by themselves": "ended with EOS",
    "held-out ended by themselves": "held-out ended with EOS",
    "told": "reported",
}


def under_new_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with old names replaced by current ones, also in nested mappings and lists of names."""
    return {RENAMED.get(name, name): _renamed(value) for name, value in row.items()}


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return under_new_names(value)
    if isinstance(value, list):
        return [RENAMED.get(one, one) if isinstance(one, str) else one for one in value]
    return value
