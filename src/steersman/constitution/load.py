"""Reading a constitution from a TOML file or from those shipped. Every error says file, key, what was seen and what was
expected."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any, cast

from steersman.constitution.document import FIELDS, Constitution, CriticTemplates, JudgeTemplates
from steersman.errors import DataError, UsageError
from steersman.records import Principle, PrincipleExample
from steersman.settings.base import is_file
from steersman.settings.toml import parse_toml, read_toml

TOP = ("name", "description", "kinds", "judge", "critic", "principles")
REQUESTS = ("critique_request", "revision_request", "comparison_question")
MAY_BE_EMPTY = ("judge.opening", "judge.reasoning_opening", "judge.rating_opening", "judge.verdict")


def shipped_constitutions() -> list[str]:
    """The names of the constitutions in the package."""
    folder = resources.files("steersman.constitution") / "resources"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_constitution(source: str | Path) -> Constitution:
    """The constitution in a file, or the shipped one of this name; checked."""
    path = Path(source).expanduser()
    if is_file(path):
        values = read_toml(path)
        # read once more, for the lines: `read_toml` has found it to be UTF-8
        return build_constitution(values, path.read_text(encoding="utf-8-sig"), path.stem, str(path))
    names = shipped_constitutions()
    if str(source) in names:
        raw = shipped_text(str(source))
        return build_constitution(parse_toml(raw.encode(), str(source)), raw, str(source), str(source))
    near = difflib.get_close_matches(str(source), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped constitutions are {', '.join(names)}"
    raise UsageError(
        f"no constitution {str(source)!r}: it is neither a file nor the name of a shipped constitution; {hint}"
    )


def text_of(source: str | Path) -> str:
    """The TOML of a constitution, from a file or a shipped one, with its comments."""
    path = Path(source).expanduser()
    return path.read_text(encoding="utf-8-sig") if is_file(path) else shipped_text(str(source))


def renamed(text: str, name: str) -> str:
    """The TOML of a constitution with another name."""
    return re.sub(r"(?m)^name = .*$", lambda _: f"name = {json.dumps(name)}", text, count=1)


def shipped_text(name: str) -> str:
    """The TOML of a shipped constitution."""
    return (resources.files("steersman.constitution") / "resources" / f"{name}.toml").read_text(encoding="utf-8")


def build_constitution(values: Mapping[str, Any], text: str, name: str, path: str) -> Constitution:
    """The constitution of these TOML values. `text` is the file, for line numbers; `path` is what errors call it."""
    _known(path, "", values, TOP)
    given = values.get("principles", [])
    if not isinstance(given, list) or not given:
        raise DataError(f"{path}: there are no principles; expected one or more [[principles]] tables")
    kinds = _texts(path, "kinds", values.get("kinds", []))
    rows = cast(list[Any], given)
    lines = lines_of(text, len(rows))
    found: list[Principle] = []
    for number, row in enumerate(rows, 1):
        line = lines[number - 1].get("", 0)
        where = f"{path}:{line}" if line else path
        found.append(_principle(where, f"principles[{number}]", row, kinds))
        earlier = next((i for i, one in enumerate(found[:-1], 1) if one.name == found[-1].name), 0)
        if earlier:
            raise DataError(
                f"{where}: two principles are called {found[-1].name!r}, principles {earlier} and {number}; "
                "give each a name of its own"
            )
    return Constitution(
        _text(path, "name", values.get("name", name)),
        tuple(found),
        _templates(path, "judge", JudgeTemplates, values.get("judge", {})),
        _templates(path, "critic", CriticTemplates, values.get("critic", {})),
        kinds,
        _text(path, "description", values.get("description", ""), empty=True),
        path,
        {one.name: keys for one, keys in zip(found, lines, strict=True)},
    )


def _principle(where: str, key: str, row: Any, kinds: tuple[str, ...]) -> Principle:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: {key} is {row!r}; expected a [[principles]] table")
    values = cast(Mapping[str, Any], row)
    _known(where, key, values, [f.name for f in fields(Principle)])
    for needed in ("name", *REQUESTS):
        if needed not in values:
            raise DataError(f"{where}: {key} has no {needed}; expected a text")
    weight = values.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
        raise DataError(f"{where}: {key}.weight is {weight!r}; expected a number above 0")
    own = _texts(where, f"{key}.kinds", values.get("kinds", []))
    for kind in own:
        if kind not in kinds:
            near = difflib.get_close_matches(kind, kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the file's kinds are {', '.join(kinds) or 'none'}"
            raise DataError(f"{where}: {key}.kinds names the kind {kind!r}, which is not in `kinds` at the top; {hint}")
    examples = values.get("examples", [])
    if not isinstance(examples, list):
        raise DataError(f"{where}: {key}.examples is {examples!r}; expected [[principles.examples]] tables")
    return Principle(
        _text(where, f"{key}.name", values["name"]),
        _text(where, f"{key}.text", values.get("text", ""), empty=True),
        *(_text(where, f"{key}.{name}", values[name]) for name in REQUESTS),
        rating_question=_text(where, f"{key}.rating_question", values.get("rating_question", ""), empty=True),
        rating_best=_one_of(where, f"{key}.rating_best", values.get("rating_best", "high"), ("high", "low")),
        weight=float(weight),
        kinds=own,
        examples=tuple(
            _example(where, f"{key}.examples[{i}]", one) for i, one in enumerate(cast(list[Any], examples), 1)
        ),
    )


def _example(where: str, key: str, row: Any) -> PrincipleExample:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: {key} is {row!r}; expected a table with prompt, answer, critique and revision")
    values = cast(Mapping[str, Any], row)
    names = [f.name for f in fields(PrincipleExample)]
    _known(where, key, values, names)
    for name in names:
        if name not in values:
            raise DataError(f"{where}: {key} has no {name}; expected a text")
    return PrincipleExample(*(_text(where, f"{key}.{name}", values[name]) for name in names))


def _templates(path: str, group: str, cls: type[Any], values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise DataError(f"{path}: {group} is {values!r}; expected a [{group}] table")
    table = cast(Mapping[str, Any], values)
    _known(path, group, table, [f.name for f in fields(cls)])
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{group}.{name}"
        if key == "judge.choices":
            found[name] = _choices(path, value)
        elif key == "judge.highest":
            if type(value) is not int or not 2 <= value <= 100:
                raise DataError(f"{path}: {key} is {value!r}; expected a whole number from 2 to 100")
            found[name] = value
        elif key in ("critic.form", "judge.rating_form"):
            found[name] = _one_of(path, key, value, ("fields", "turns"))
        elif key == "judge.control_tokens":
            found[name] = _texts(path, key, value)
        else:
            found[name] = _text(path, key, value, empty=key in MAY_BE_EMPTY)
            if key in FIELDS:
                check_template(path, key, found[name])
    return cls(**found)


def check_template(path: str, key: str, template: str) -> None:
    """Raise if a template lacks a field that it needs, or names one that does not exist."""
    needed, optional = FIELDS[key]
    known = (*needed, *optional)
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise DataError(f"{path}: {key} cannot be read: {error}; a brace that is text is written twice") from error
    seen = [f"{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
            for _, name, spec, conversion in parts]  # fmt: skip
    for name in seen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"expected {', '.join(f'{{{one}}}' for one in known)}"
            raise DataError(f"{path}: {key} has the field {{{name}}}, which does not exist; {hint}")
    for name in needed:
        if name not in seen:
            raise DataError(
                f"{path}: {key} lacks the field {{{name}}}; expected {', '.join(f'{{{n}}}' for n in needed)}"
            )


def _one_of(where: str, key: str, value: Any, options: tuple[str, ...]) -> str:
    if value not in options:
        raise DataError(f"{where}: {key} is {value!r}; expected {' or '.join(map(repr, options))}")
    return value


def _choices(path: str, value: Any) -> tuple[str, ...]:
    found = _texts(path, "judge.choices", value)
    if len(found) != 2 or found[0].strip() == found[1].strip():
        raise DataError(f"{path}: judge.choices is {list(found)!r}; expected two different texts, such as ['A', 'B']")
    return found


def _known(where: str, key: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    names = list(known)
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
            raise DataError(f"{where}: unknown key {f'{key}.{name}' if key else name!r}; {hint}")


def _text(where: str, key: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {key} is {value!r}; expected a text")
    if not empty and not value.strip():
        raise DataError(f"{where}: {key} is empty; expected a text")
    return value.strip() if key.startswith("principles") or key in ("name", "description") else value


def _texts(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError(f"{where}: {key} is {value!r}; expected a list of texts")
    return tuple(_text(where, key, one).strip() if key != "judge.choices" else _text(where, key, one)
                 for one in cast(list[Any], value))  # fmt: skip


_HEADER = re.compile(r"\s*\[\[\s*principles\s*\]\]")
_KEY = re.compile(r"\s*([A-Za-z_]+)\s*=")


def lines_of(text: str, count: int) -> list[dict[str, int]]:
    """The line of each principle (under "") and of its keys. Empty where the file is not laid out in [[principles]]."""
    found: list[dict[str, int]] = []
    open_principle = False
    for number, line in enumerate(text.splitlines(), 1):
        if _HEADER.match(line):
            found.append({"": number})
            open_principle = True
        elif line.lstrip().startswith("["):
            open_principle = False
        elif open_principle and (key := _KEY.match(line)):
            found[-1].setdefault(key.group(1), number)
    return found if len(found) == count else [{} for _ in range(count)]
