"""Dataclasses as plain dictionaries and back: JSON in the shape of the fields. Fields at their default are left out."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from steersman.errors import DataError


def plain(value: Any) -> Any:
    """A dataclass, or what its fields hold, as dictionaries, lists and plain values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: plain(v) for f, v in pairs if not _is_default(f, v)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in cast(Sequence[Any], value)]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast(Mapping[Any, Any], value).items()}
    return value


def _is_default(fld: "dataclasses.Field[Any]", value: Any) -> bool:
    if fld.default is not dataclasses.MISSING:
        return value == fld.default
    if fld.default_factory is not dataclasses.MISSING:
        return value == fld.default_factory()
    return False


_HINTS: dict[type, dict[str, Any]] = {}


def build(cls: Any, row: Any, where: str) -> Any:
    """The dataclass that `plain` was given. Anything else raises a DataError that says what is wrong at `where`."""
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, seen {type(row).__name__}")
    values = cast(Mapping[str, Any], row)
    hints = _HINTS.get(cls) or _HINTS.setdefault(cls, get_type_hints(cls))
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise DataError(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(hints)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    if missing:
        raise DataError(f"{where}: the field {missing[0]!r} is missing")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise DataError(f"{where}: expected a list, seen {type(value).__name__}")
        items = cast(Sequence[Any], value)
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if origin is not None or hint is Any:
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: expected an object, seen {type(value).__name__}")
        return dict(cast(Mapping[str, Any], value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise DataError(f"{where}: expected {hint.__name__}, seen {type(value).__name__}")
    return value
