"""Reading YAML recipes by the core schema of YAML 1.2: `no`, `on` and 12:30 are texts, 1e-5 is a number, 010 is ten.

PyYAML reads the syntax; its YAML 1.1 types (yes/no, base 60, dates) are not used. A key that is there twice is an
error. A dotted key stands for tables, as in TOML: `data.source: pairs.jsonl`; in quotes it is one key.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from steersman.errors import UsageError
from steersman.settings.file_text import MEND, decode, read_bytes

_LARGEST = 100_000
"""Values of a recipe with all aliases written out: a few lines of aliases can stand for billions."""
_NULL = ("", "~", "null", "Null", "NULL")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL, _HEX = re.compile(r"0o[0-7]+", re.ASCII), re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)", re.ASCII)
_STR, _MERGE = "tag:yaml.org,2002:str", "<<"


class _Scalars(yaml.SafeLoader):
    """PyYAML's parser with every plain scalar left as its text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's name


def read_yaml(path: Path, *, otherwise: str = MEND) -> dict[str, Any]:
    """The content of a YAML file. `otherwise` says what to do where it cannot be read."""
    return parse_yaml(read_bytes(path, otherwise), str(path), otherwise=otherwise)


def parse_yaml(raw: bytes, name: str, *, otherwise: str = MEND) -> dict[str, Any]:
    text = decode(raw, name, otherwise)
    try:
        loader = _Scalars(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        if root is None:
            return {}
        _check_size(root)
        values = _value(root)
    except RecursionError as error:
        raise UsageError(f"{name} is not valid YAML: it is nested too deeply; {otherwise}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        hint = "; indent with spaces" if "\\t" in str(error.problem) else ""
        problem = str(error.problem or error.context)
        problem = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        raise UsageError(f"{name} is not valid YAML: {problem}{at}{hint}; {otherwise}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{name} is not valid YAML: {str(error).splitlines()[0]}; {otherwise}") from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{name} holds {_what(root)}; expected settings by name, such as `train:` with `epochs: 2` below it"
        )
    return values


def _check_size(root: yaml.Node) -> None:
    """Raise for aliases that stand for themselves, or for more values than any recipe has."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise yaml.MarkedYAMLError(problem="an alias that holds itself", problem_mark=node.start_mark)
        if known:
            return known
        sizes[id(node)] = None
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
        total = 1 + sum(size(part) for part in parts)
        if total > _LARGEST:
            raise yaml.MarkedYAMLError(
                problem=f"it stands for more than {_LARGEST:,} values", problem_mark=node.start_mark
            )
        sizes[id(node)] = total
        return total

    size(root)


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    plain = "tag:yaml.org,2002:map" if isinstance(node, yaml.MappingNode) else "tag:yaml.org,2002:seq"
    if node.tag != plain:
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag!r} is not read here", problem_mark=node.start_mark)
    return _table(node) if isinstance(node, yaml.MappingNode) else [_value(item) for item in node.value]


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag != _STR:
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag!r} is not read here", problem_mark=node.start_mark)
    text: str = node.value
    if node.style:  # in quotes or a block: always a text
        return text
    if text in _NULL:
        return None
    if text in (*_TRUE, *_FALSE):
        return text in _TRUE
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    return float(text) if _FLOAT.fullmatch(text) else text


def _table(node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping, with its dotted keys as tables. What `<<` merges in gives way to the mapping's own keys."""
    table: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise yaml.MarkedYAMLError(problem="a key that is no name", problem_mark=key.start_mark)
        name: str = key.value
        if name in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {name!r} is there twice", problem_mark=key.start_mark)
        seen.add(name)
        if name == _MERGE and not key.style:
            merged = _merged(value)
            continue
        whole = key.style or ".." in f".{name}."
        _join(table, [name] if whole else name.split("."), _value(value), key)
    return {**merged, **table}


def _join(table: dict[str, Any], path: list[str], value: Any, key: yaml.ScalarNode) -> None:
    """Put a value into nested tables. `data:` and `data.source:` are one table; one value is never put over another."""
    first, *rest = path
    if not rest and first not in table:
        table[first] = value
        return
    here = table.setdefault(first, {})
    if isinstance(here, dict) and rest:
        _join(here, rest, value, key)
    elif isinstance(here, dict) and isinstance(value, dict):
        for name, inner in value.items():
            _join(here, [name], inner, key)
    else:
        raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)


def _merged(node: yaml.Node) -> dict[str, Any]:
    """What `<<:` brings in: a mapping, or several of which the first wins."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    table: dict[str, Any] = {}
    for one in nodes:
        if not isinstance(one, yaml.MappingNode):
            raise yaml.MarkedYAMLError(problem="'<<' expects a mapping, or a list of them", problem_mark=one.start_mark)
        table = {**_table(one), **table}
    return table


def _what(root: yaml.Node) -> str:
    return "a list" if isinstance(root, yaml.SequenceNode) else "one value"
