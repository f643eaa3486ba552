"""Registers the named sources that ship with Steersman."""

import difflib
import itertools
import re
from collections.abc import Iterator
from typing import Any

from steersman.data.kinds import under_template
from steersman.data.load import ReadReport, load_records
from steersman.data.sources import parse_rest, register, registered
from steersman.errors import UsageError
from steersman.records import Record
from steersman.settings.score import SourceSettings


def read_source(settings: SourceSettings, kinds: tuple[type, ...], report: ReadReport) -> Iterator[Record]:
    register_sources()
    found = load_records(
        settings.source,
        kind=kinds,
        format=settings.format,
        split=settings.split,
        strict=settings.strict,
        report=report,
    )
    return itertools.islice(under_template(settings.template, found), settings.limit)


DECIMAL = re.compile(r"-?\d*\.\d+")


def register_sources() -> None:
    """Make `harbour:…` a data source. More calls change nothing."""
    if "harbour" not in registered():
        register("harbour", open_harbour)


def open_harbour(rest: str) -> Iterator[Any]:
    """The records of `harbour:<name>?count=…&seed=…`."""
    from steersman.harbour.registry import sources

    name, options = parse_rest(rest)
    found = sources()
    if f"harbour:{name}" not in found:
        near = difflib.get_close_matches(f"harbour:{name}", found, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(found)}"
        raise UsageError(f"there is no source 'harbour:{name}'; {hint}")
    try:
        return found[f"harbour:{name}"](**{key: _value(key, text) for key, text in options.items()})
    except TypeError as error:
        raise UsageError(f"'harbour:{rest}' has an option that the source does not take: {error}") from error


def _value(key: str, text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lstrip("-").isdigit():
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text
