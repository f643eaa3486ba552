"""Resuming a run after a default has changed: the run keeps the setting that it began with.

A schema's `earlier_defaults` names such settings with their earlier defaults. A setting that a recipe does not mention
is newer than the recipe, and stands for what was done before it existed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from steersman.errors import UsageError
from steersman.runs.folder import RunFolder
from steersman.settings.base import NONE, Settings
from steersman.settings.nested import default_of, flat, value_of
from steersman.settings.toml import read_toml

S = TypeVar("S", bound=Settings)


def as_recorded(settings: S, folder: RunFolder) -> S:
    """The settings, with the values that the folder's run began with where only a default has changed since."""
    if not settings.earlier_defaults or not folder.recipe_path.exists():
        return settings
    try:
        recipe = flat(read_toml(folder.recipe_path))
    except UsageError:
        return settings  # refused, with a message, when the run is opened
    for key, before in settings.earlier_defaults.items():
        default = default_of(type(settings), key)
        if value_of(settings, key) == default and _recorded(recipe, key, before, default) == before != default:
            settings = with_value(settings, key.split("."), before)
    return settings


def notes_of_defaults(settings: Settings) -> list[str]:
    """A sentence for each setting that a resumed run keeps although its default has changed."""
    return [
        f"{key}={value!r} is kept from this run's beginning; the default is now {new!r}"
        for key, value, new in _kept(settings)
    ]


def _kept(settings: Settings) -> Iterator[tuple[str, Any, Any]]:
    for key, before in settings.earlier_defaults.items():
        default = default_of(type(settings), key)
        if value_of(settings, key) == before != default:
            yield key, before, default


def absent(settings: Settings, key: str, recipe: Mapping[str, Any]) -> Any:
    """What a recipe that does not mention a setting means by it: what was done before there was this setting, or None
    where the setting's whole group is not in the recipe."""
    default = default_of(type(settings), key)
    group, _, name = key.rpartition(".")
    holder = value_of(settings, group) if group else settings
    if default is None and isinstance(holder, Settings) and any(known.startswith(f"{group}.") for known in recipe):
        default = default_of(type(holder), name)
    return None if default is None else settings.earlier_defaults.get(key, default)


def _recorded(recipe: Mapping[str, Any], key: str, before: Any, default: Any) -> Any:
    if key not in recipe:
        return None if default is None else before
    return None if recipe[key] == NONE else recipe[key]


def with_value(settings: S, path: list[str], value: Any) -> S:
    """The settings with another value at a path of names."""
    name, *rest = path
    inner = with_value(getattr(settings, name), rest, value) if rest else value
    return settings.model_copy(update={name: inner})
