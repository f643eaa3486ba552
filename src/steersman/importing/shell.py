"""Command lines in a shell script, as a program's name and its options."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

_VARIABLE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$")


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each command, continued lines joined, variables of the script filled in, comments left out."""
    values: dict[str, str] = {}
    for line in _lines(text):
        found = _VARIABLE.match(line)
        try:
            words = shlex.split(_filled(line, values), comments=True)
        except ValueError:
            continue  # a quote that is not closed: no command of ours
        if found and len(words) == 1:
            values[found[1]] = words[0].partition("=")[2]
        elif words:
            yield words


def _lines(text: str) -> Iterator[str]:
    """Lines with their continuations. A here-document's `read -r -d '' NAME <<EOF` holds a command: its lines count."""
    whole = ""
    for line in text.splitlines():
        stripped = line.rstrip()
        if stripped.lstrip().startswith("#"):
            continue
        if stripped.endswith("\\"):
            whole += stripped[:-1] + " "
            continue
        if whole or stripped.strip():
            yield whole + stripped
        whole = ""
    if whole:
        yield whole


def _filled(line: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], found[0]), line)


def options_of(words: list[str]) -> dict[str, Any]:
    """`--name value`, `--name=value`, and a lone `--name` as true. Values of one name that come together are a list."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = read(value) if equals else True
        elif name:
            before = found[name]
            found[name] = (
                read(word) if before is True else [*(before if isinstance(before, list) else [before]), read(word)]
            )
    return found


def read(text: str) -> Any:
    """A word as a number, a truth value or a text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
