"""Shared by all sub-commands: settings from command-line arguments, and output as text or JSON."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from steersman import printing
from steersman.printing import say_json
from steersman.runs.verified import verification
from steersman.settings.base import Settings, load_settings

S = TypeVar("S", bound=Settings)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe (a TOML or YAML file, or the name of a shipped recipe), then settings by dotted name.",
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
Extend = Annotated[
    bool | None,
    typer.Option("--extend", help="Go on with this folder's run to a greater length, also if it has finished."),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, help="Repeat the run with this many seeds, each in its own folder, and show the spread."
    ),
]


NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", help="Load models that Steersman saved without verifying their files' hashes."),
]
Command = Callable[..., None]


def loads_models(command: Command) -> Command:
    """The command with one more option, --no-verify, for all models that it loads."""

    def run(*args: Any, no_verify: bool = False, **options: Any) -> None:
        with verification(not no_verify):
            command(*args, **options)

    return with_option(run, command, "no_verify", NoVerify)


def with_option(run: Command, command: Command, name: str, annotation: Any) -> Command:
    """`run` in place of the command, with the command's name, help and options, and one flag more."""
    wraps(command)(run)
    signature = inspect.signature(command, eval_str=True)
    added = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
    run.__dict__["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), added])
    run.__annotations__ = {**command.__annotations__, name: annotation}
    return run


def gather(schema: type[S], words: Sequence[str] | None, options: Mapping[str, object]) -> S:
    """Settings from the positional arguments (a recipe first, if any) and the options that were given."""
    words = list(words or [])
    recipe = words.pop(0) if words and "=" not in words[0] else None
    overrides = [
        f"{key}={json.dumps(value) if isinstance(value, str | bool) else value}"
        for key, value in options.items()
        if value is not None
    ]
    return load_settings(schema, recipe, [*words, *overrides])


def say(result: Mapping[str, Any], *, as_json: bool, lines: Sequence[str]) -> None:
    if as_json:
        return say_json(result)
    return printing.say("\n".join(lines))
