"""Base class of all settings, and the reader of recipes and `a.b=value` overrides. No torch, so that it imports fast.

A recipe is TOML or YAML. An unknown key is an error that names the nearest known key. A wrong value is an error that
says what was seen and what was expected.
"""

import difflib
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from steersman.errors import UsageError
from steersman.secrets import concealed
from steersman.settings.foreign import ours
from steersman.settings.toml import NOT_TOML, parse_toml, read_toml

NONE = "none"


class Settings(BaseModel):
    """A group of settings: frozen; unknown keys and numbers that are not finite are errors."""

    # A number that may be infinite says so in its own Field (allow_inf_nan=True).
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )
    earlier_defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings by dotted name whose default has changed, each with the default before. A resumed run keeps that."""

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        """Read the string "none" as None for settings that are on by default: TOML has no null. Read None as "none"
        for settings that have it as a choice, since an override `key=none` is read as None."""
        if not isinstance(values, Mapping):
            return values
        return {k: cls._none_or(k, v) if k in cls.model_fields else v for k, v in values.items()}

    @classmethod
    def _none_or(cls, name: str, value: Any) -> Any:
        if value == NONE and cls.on_by_default(name):
            return None
        annotation = cls.model_fields[name].annotation
        return NONE if value is None and get_origin(annotation) is Literal and NONE in get_args(annotation) else value

    @model_validator(mode="before")
    @classmethod
    def _keep_group_defaults(cls, values: Any) -> Any:
        """Fill the unset members of a group from this field's default group, not from the group's class.

        So PPO keeps its own default learning rate when a recipe sets only the schedule.
        """
        if not isinstance(values, Mapping):
            return values
        defaults = {
            name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Settings)
        }
        return {
            k: {**defaults[k].model_dump(exclude_unset=True), **v} if k in defaults and isinstance(v, Mapping) else v
            for k, v in values.items()
        }

    @classmethod
    def on_by_default(cls, name: str) -> bool:
        """Whether a setting allows None and has another default."""
        field = cls.model_fields[name]
        return type(None) in get_args(field.annotation) and field.get_default(call_default_factory=True) is not None


S = TypeVar("S", bound=Settings)


def load_settings(schema: type[S], recipe: str | Path | None, overrides: Sequence[str]) -> S:
    """Settings from a recipe (a path, or the name of a shipped recipe), then from `a.b=value` overrides."""
    values = read_recipe(recipe) if recipe is not None else {}
    for override in overrides:
        put(values, override)
    return check(schema, values)


def check(schema: type[S], values: Mapping[str, Any]) -> S:
    refuse_unusable(values)
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(_explain(schema, item) for item in error.errors())) from error


def refuse_unusable(value: Any, key: str = "") -> None:
    """Raise for what no setting can be, whatever it means: a text with a NUL or that is not UTF-8 (a file's name may be
    neither), and a whole number beyond 64 bits."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_unusable(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            refuse_unusable(inner, key)
    elif isinstance(value, str):
        if "\0" in value:
            raise UsageError(f"setting {key!r}: {value!r} holds a NUL character; leave it out")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"setting {key!r}: {value!r} holds bytes that are not UTF-8; rename the file, or give another value"
            ) from None
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UsageError(f"setting {key!r}: the number is beyond 64 bits; expected a smaller one")


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    path = Path(recipe)
    if is_file(path):
        values = _read_file(path)
    elif str(recipe) in (names := shipped_recipes()):
        shipped = resources.files("steersman") / "recipes" / f"{recipe}.toml"
        values = parse_toml(shipped.read_bytes(), str(recipe))
    else:
        near = difflib.get_close_matches(str(recipe), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped recipes are {', '.join(names)}"
        raise UsageError(f"no recipe {str(recipe)!r}: it is neither a file nor the name of a shipped recipe; {hint}")
    refuse_unusable(values)
    return values


def _read_file(path: Path) -> dict[str, Any]:
    if path.suffix.lower() not in (".yaml", ".yml"):
        return read_toml(path)
    from steersman.settings.yaml import read_yaml  # PyYAML is imported only where a recipe is YAML

    return read_yaml(path)


def is_file(path: Path) -> bool:
    """Whether there is such a file. A name that no file can have (too long, with a NUL) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def shipped_recipes() -> list[str]:
    folder = resources.files("steersman") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def put(values: dict[str, Any], override: str) -> None:
    """Write the override `a.b=value` into nested values. The value is read as TOML, or as a plain string if that
    fails."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"cannot read the override {override!r}; expected key=value, such as train.epochs=2")
    here = values
    *groups, last = key.strip().split(".")
    for group in groups:
        inner = here.setdefault(group, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{override!r}: {group!r} is a value ({inner!r}), not a group of settings")
        here = inner
    here[last] = _value(text.strip())


def _value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except NOT_TOML:
        return text


def to_toml(settings: Settings) -> str:
    """The resolved recipe, without secrets. A None is left out, or written as "none" where the default is not None."""
    import tomli_w

    return tomli_w.dumps(concealed(_plain(settings)))


def _plain(settings: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    dumped = settings.model_dump(mode="json")
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Settings):
            plain[name] = _plain(value)
        elif isinstance(value, Mapping) and any(isinstance(item, Settings) for item in value.values()):
            plain[name] = {key: _plain(item) for key, item in value.items()}
        elif value is not None:
            plain[name] = dumped[name]
        elif type(settings).on_by_default(name):
            plain[name] = NONE
    return plain


def json_schema(schema: type[Settings]) -> str:
    return json.dumps(schema.model_json_schema(), indent=2)


def _explain(schema: type[BaseModel], item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    dotted = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = _keys_at(schema, location[:-1])
        near = (
            difflib.get_close_matches(location[-1], known, n=1, cutoff=0.6)
            or [k for k in known if location[-1] in k][:1]
        )
        everything = all_keys(schema)
        elsewhere = [key for key in everything if key.split(".")[-1] == location[-1]]
        foreign = _foreign(dotted, item["input"], everything)
        exact = (dotted, elsewhere[0]) if len(elsewhere) == 1 and len(location) == 1 else foreign
        if exact is not None:
            return f"unknown setting {exact[0]!r}: did you mean {exact[1]!r}?"
        if near:
            better = ".".join([*location[:-1], near[0]])
            return f"unknown setting {dotted!r}: did you mean {better!r}?"
        if elsewhere:
            return f"unknown setting {dotted!r}: did you mean {elsewhere[0]!r}?"
        return f"unknown setting {dotted!r}: expected one of {', '.join(known)}"
    if item["type"] == "missing":
        return f"the setting {dotted!r} is missing; set it in the recipe or as {dotted}=…"
    if item["type"] in ("model_type", "model_attributes_type") and (known := _keys_at(schema, location)):
        needed = next((key for key in known if key in ("path", "source", "out")), known[0])
        value = item["input"] if isinstance(item["input"], str | int | float) else "…"
        return (
            f"{dotted!r} is a group of settings, not one value; expected one of them, such as {dotted}.{needed}={value}"
        )
    if not location:
        # Two settings contradict each other. The message names them; printing the whole recipe would bury it.
        return item["msg"].removeprefix("Value error, ")
    return f"setting {dotted!r}: {item['msg']} (seen {item['input']!r})"


def _foreign(dotted: str, value: Any, known: Sequence[str]) -> tuple[str, str] | None:
    """Another library's name and ours: the unknown name itself, or one inside an unknown group (algorithm.kl_coef)."""
    if isinstance(value, Mapping):
        return next((f for key, one in value.items() if (f := _foreign(f"{dotted}.{key}", one, known))), None)
    found = ours(dotted, known)
    return None if found is None else (dotted, found)


def _inner(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) is dict:  # groups by names that the user gives
        annotation = get_args(annotation)[1]
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _keys_at(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    here: type[BaseModel] | None = schema
    parts = iter(path)
    for part in parts:
        if here is None or part not in here.model_fields:
            return []
        annotation = here.model_fields[part].annotation
        if get_origin(annotation) is dict:
            next(parts, None)
        here = _inner(annotation)
    return [] if here is None else list(here.model_fields)


def all_keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted names of all settings of a schema."""
    keys: list[str] = []
    for name, fld in schema.model_fields.items():
        inner = _inner(fld.annotation)
        named = f"{prefix}{name}.<name>." if get_origin(fld.annotation) is dict else f"{prefix}{name}."
        keys.extend(all_keys(inner, named) if inner else [f"{prefix}{name}"])
    return keys
