"""Nested settings by dotted names: a.b.c."""

from collections.abc import Mapping
from typing import Any

from steersman.settings.base import Settings


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return found


def value_of(settings: Settings, key: str) -> Any:
    """The value of the setting with this dotted name; None where a group on the way is not there."""
    here: Any = settings
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else getattr(here, part, None)
    return here


def default_of(schema: type[Settings], key: str) -> Any:
    """The default of the setting with this dotted name; None where there is none."""
    name, _, rest = key.partition(".")
    field = schema.model_fields.get(name)
    default = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
    if not rest:
        return default
    if isinstance(default, Settings):
        return value_of(default, rest)
    group = None if field is None else field.annotation
    return default_of(group, rest) if isinstance(group, type) and issubclass(group, Settings) else None


def put_at(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value with this dotted name."""
    *groups, last = key.split(".")
    for group in groups:
        values[group] = dict(values.get(group) or {})
        values = values[group]
    values[last] = value
