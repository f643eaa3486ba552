"""Shared by all sub-commands: settings from command-line arguments, and output as text or JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from steersman import printing
from steersman.printing import say_json
from steersman.settings.base import Settings, load_settings

S = TypeVar("S", bound=Settings)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe (a TOML file or the name of a shipped recipe), then settings by dotted name.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Profile = Annotated[
    int | None,
    typer.Option(
        "--profile",
        min=1,
        help="Profile this many steps with torch.profiler: a trace and a table by phase in the run folder.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, help="Repeat the run with this many seeds, each in its own folder, and show the spread."
    ),
]


def gather(schema: type[S], words: Sequence[str] | None, options: Mapping[str, object]) -> S:
    """Settings from the positional arguments (a recipe first, if any) and the options that were given."""
    words = list(words or [])
    recipe = words.pop(0) if words and "=" not in words[0] else None
    overrides = [
        f"{key}={json.dumps(value) if isinstance(value, str) else value}"
        for key, value in options.items()
        if value is not None
    ]
    return load_settings(schema, recipe, [*words, *overrides])


def say(result: Mapping[str, Any], *, as_json: bool, lines: Sequence[str]) -> None:
    if as_json:
        return say_json(result)
    return printing.say("\n".join(lines))
