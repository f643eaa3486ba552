"""The settings of a schema as a list that can be searched: name, type, default, meaning, names in other libraries."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from steersman.errors import UsageError
from steersman.settings.base import Settings
from steersman.settings.foreign import OURS, ours, theirs

REQUIRED = "required"
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "none"}


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting. `elsewhere` are its names in TRL, OpenRLHF and verl."""

    name: str
    type: str
    default: str
    meaning: str
    elsewhere: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "elsewhere": list(self.elsewhere)}


def settings_of(schema: type[Settings]) -> list[SettingInfo]:
    """All settings of a schema, in its order."""
    found = list(_walk(schema, "", {}))
    known = [one.name for one in found]
    return [SettingInfo(one.name, one.type, one.default, one.meaning, tuple(theirs(one.name, known))) for one in found]


def find_settings(schema: type[Settings], words: Sequence[str]) -> list[SettingInfo]:
    """The settings that have every word in their name, or else in their meaning or a name elsewhere. Another library's
    name leads to ours, which comes first."""
    everything = settings_of(schema)
    known = [one.name for one in everything]
    if not words:
        return everything
    wanted = [word.partition("=")[0].lower() for word in words]
    meant = ours(wanted[0], known) if len(wanted) == 1 else None
    if meant is not None:
        same = [one for one in everything if wanted[0] in one.name and one.name != meant]
        return [*(one for one in everything if one.name == meant), *same]
    texts: tuple[Mapping[str, str], ...] = (
        {one.name: one.name for one in everything},
        {one.name: " ".join((one.name, one.meaning, *one.elsewhere)).lower() for one in everything},
    )
    for text in texts:
        found = [one for one in everything if all(word in text[one.name] for word in wanted)]
        if found:
            return found
    raise UsageError(_nothing(" ".join(words), known))


def _nothing(said: str, known: Sequence[str]) -> str:
    by_part = {part: name for name in reversed(known) for part in (name, name.rpartition(".")[2])}
    by_part |= {name: next(k for k in found if k in known) for name, found in OURS.items() if {*found} & {*known}}
    near = difflib.get_close_matches(said.lower(), by_part, n=3, cutoff=0.5)
    names = list(dict.fromkeys(by_part[one] for one in near))
    hint = f"did you mean {', '.join(names)}?" if names else "without a word, all settings are listed"
    return f"no setting has {said!r} in its name, its meaning or its name in TRL, OpenRLHF or verl; {hint}"


def _walk(schema: type[BaseModel], prefix: str, defaults: Mapping[str, Any], within: str = "") -> Iterator[SettingInfo]:
    """`within` is the optional group that these settings are in: their defaults hold once it is given."""
    for name, field in schema.model_fields.items():
        default = defaults.get(name, _default(field))
        inner, by_name = group_of(field.annotation)
        if inner is None:
            shown = _shown(default)
            shown += f" where {within} is given" if within and default is not None else ""
            yield SettingInfo(prefix + name, type_words(field), shown, _plain(field.description))
            continue
        given = (
            {key: getattr(default, key) for key in type(default).model_fields} if isinstance(default, Settings) else {}
        )
        optional = default is None and not by_name
        inside = f"{prefix}{name}" if optional else within
        yield from _walk(inner, f"{prefix}{name}.{'<name>.' if by_name else ''}", given, inside)


def group_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The schema of a group of settings, and whether it is one for each name that the user gives."""
    by_name = get_origin(annotation) is dict
    if by_name:
        annotation = get_args(annotation)[1]
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    found = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return found, by_name


def _default(field: FieldInfo) -> Any:
    return REQUIRED if field.is_required() else field.get_default(call_default_factory=True)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(one)}" for key, one in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else '""'


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def type_words(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds."""
    bounds = {
        name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    words = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
    said = [words[name].format(_shown(bounds[name])) for name in words if bounds.get(name) is not None]
    parts = get_args(field.annotation)
    if type(None) not in parts:
        return " ".join([_words(field.annotation), *said])
    value = ", or ".join(_words(part) for part in parts if part is not type(None))
    return " ".join([value, *said]) + ", or none"


def _words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(parts[0])
    if origin is Literal:
        return " | ".join(str(part) for part in parts)
    if origin in (Union, types.UnionType):
        return ", or ".join(_words(part) for part in parts)
    if origin is list:
        return f"list ({_words(parts[0])})"
    if origin is tuple:
        return f"{len(parts)} values ({_words(parts[0])})"
    if origin is dict:
        return f"table by name ({_words(parts[1])})"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
