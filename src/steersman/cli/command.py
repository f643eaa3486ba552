"""What every sub-command shares: words of the command line into settings, and results onto the screen or into JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from steersman.settings.base import Settings, load_settings

S = TypeVar("S", bound=Settings)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe (a TOML file or the name of a shipped one), then settings by dotted name.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words and bars.")]
Profile = Annotated[
    int | None,
    typer.Option(
        "--profile",
        min=1,
        help="Look at so many steps with torch's profiler: a trace and a table by phase in the run's folder.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, help="Repeat the run with so many seeds, each in its own folder, and show the spread."
    ),
]


def gather(schema: type[S], words: Sequence[str] | None, options: Mapping[str, object]) -> S:
    """Settings from the positional words (recipe first, if any) and the plain options that were given."""
    words = list(words or [])
    recipe = words.pop(0) if words and "=" not in words[0] else None
    given = [
        f"{key}={json.dumps(value) if isinstance(value, str) else value}"
        for key, value in options.items()
        if value is not None
    ]
    return load_settings(schema, recipe, [*words, *given])


def say(result: Mapping[str, Any], *, as_json: bool, lines: Sequence[str]) -> None:
    print(json.dumps(result, ensure_ascii=False) if as_json else "\n".join(lines))
