"""Registers the named sources that ship with Steersman."""

import difflib
import inspect
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from steersman.data.kinds import WITH_PROMPTS, as_prompts, under_template
from steersman.data.load import ReadReport, load_records
from steersman.data.sources import LiveSource, content_hash, open_parts, parse_rest, register, registered
from steersman.errors import DataError, UsageError
from steersman.records import Prompt, Record
from steersman.settings.columns import row_format
from steersman.settings.score import SourceSettings


def read_source(settings: SourceSettings, kinds: tuple[type, ...], report: ReadReport) -> Iterator[Record]:
    register_sources()
    found = load_records(
        settings.source,
        kind=kinds,
        format=row_format(settings),
        split=settings.split,
        strict=settings.strict,
        report=report,
    )
    return itertools.islice(under_template(settings.template, found), settings.limit)


def read_prompts(settings: SourceSettings, left_out: Counter[str]) -> list[Prompt]:
    """The prompts of a source, each once. What has none, comes again or cannot be read is counted by reason."""
    report = ReadReport()
    found = list(as_prompts(read_source(settings, WITH_PROMPTS, report), unique=True))
    if not found:
        raise DataError(report.nothing("prompts", "prompts, or records that have them"))
    before = Counter({"a prompt that came before": report.records - len(found), "a bad row": report.malformed})
    left_out.update(+before + report.left_out)
    return found


def hash_of_source(source: str) -> str:
    """The hash of a source's content, for the stamp. A source that does not exist is an error, before anything is
    loaded."""
    refuse_missing_source(source)
    return content_hash(source)


def refuse_missing_source(source: str) -> None:
    """Raise if a source does not exist, as far as it is known without asking the hub."""
    register_sources()
    open_parts(source)


def register_sources() -> None:
    """Make `harbour:…` and `studio:…` data sources. More calls change nothing."""
    if "harbour" not in registered():
        register("harbour", open_harbour)
    if "studio" not in registered():
        register("studio", _open_studio, LiveSource(_freeze_studio, _studio_going_on, _content_of_studio))


# The store's library takes a fifth of a second to import: only a `studio:` source pays for it.
def _open_studio(rest: str) -> Iterator[Any]:
    from steersman.store.sources import open_studio

    return open_studio(rest)


def _freeze_studio(rest: str) -> str:
    from steersman.store.sources import frozen_source

    return frozen_source(rest)


def _studio_going_on(rest: str, recorded: str) -> str | None:
    from steersman.store.sources import source_going_on

    return source_going_on(rest, recorded)


def _content_of_studio(rest: str) -> str:
    from steersman.store.sources import content_of_source

    return content_of_source(rest)


def open_harbour(rest: str) -> Iterator[Any]:
    """The records of `harbour:<name>?count=…&seed=…`."""
    from steersman.harbour.registry import sources

    name, options = parse_rest(rest)
    found = sources()
    if f"harbour:{name}" not in found:
        near = difflib.get_close_matches(f"harbour:{name}", found, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(found)}"
        raise UsageError(f"there is no source 'harbour:{name}'; {hint}")
    source = found[f"harbour:{name}"]
    parameters = inspect.signature(source).parameters
    takes = {k: p.default for k, p in parameters.items() if k != "split" and isinstance(p.default, int | float | str)}
    for key in options:
        if key not in takes:
            raise UsageError(f"'harbour:{rest}' has no option {key!r}; expected {', '.join(takes)}")
    return source(**{key: _option(key, text, takes[key], rest) for key, text in options.items()})


def _option(key: str, text: str, default: bool | int | float | str, rest: str) -> bool | int | float | str:
    """The value of a source's option, of the same type as its default."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UsageError(f"'harbour:{rest}': {key} is true or false; seen {text[:40]!r}")
    if isinstance(default, int):
        if re.fullmatch(r"\d{1,15}", text, re.ASCII):
            return int(text)
        raise UsageError(f"'harbour:{rest}': {key} is a whole number from 0; seen {text[:40]!r}")
    if re.fullmatch(r"-?\d{0,15}\.?\d{1,15}", text, re.ASCII):
        return float(text)
    raise UsageError(f"'harbour:{rest}': {key} is a number such as 0.5; seen {text[:40]!r}")


# Whoever imports a reader of sources knows all of them: a run freezes its live sources before it reads anything.
register_sources()
