"""Names that changed in 0.2. Old journals and checkpoints are still read, for one release; their names are mapped."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "ended by themselves": "ended with EOS",
    "held-out ended by themselves": "held-out ended with EOS",
    "told": "reported",
}


def under_new_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with old names replaced by current ones, also in nested mappings."""
    return {
        RENAMED.get(name, name): under_new_names(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
    }
