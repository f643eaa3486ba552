"""Names that changed in 0.2: journals and checkpoints written before are still read under their old names, for one release."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "ended by themselves": "ended with EOS",
    "held-out ended by themselves": "held-out ended with EOS",
    "told": "reported",
}


def under_new_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under the names of today, also in the mappings within."""
    return {
        RENAMED.get(name, name): under_new_names(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
    }
