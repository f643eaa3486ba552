"""JSON values whose texts are changed."""

from collections.abc import Callable, Mapping
from typing import Any


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with each text in it changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {with_texts(key, change): with_texts(one, change) for key, one in value.items()}
    return [with_texts(one, change) for one in value] if isinstance(value, list | tuple) else value
