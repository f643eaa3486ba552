"""`--help-settings`: the settings of a command with type, default and meaning, all or those that match a word."""

import shutil
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.assemble.stages import stage_of
from steersman.cli.command import with_option
from steersman.printing import say, say_json
from steersman.settings.base import shipped_recipes
from steersman.settings.reference import REQUIRED, SettingInfo, find_settings

HelpSettings = Annotated[
    bool,
    typer.Option(
        "--help-settings",
        help="List the settings, or those with a word in name or meaning: --help-settings kl. Names of TRL, OpenRLHF "
        "and verl lead to ours.",
    ),
]


def helps_settings(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """The command with one more option, --help-settings, which shows its settings and runs nothing."""

    def run(*args: Any, help_settings: bool = False, **options: Any) -> None:
        if help_settings:
            show_settings(name, _asked(options.get("words") or []), as_json=bool(options.get("json")))
        else:
            command(*args, **options)

    return with_option(run, command, "help_settings", HelpSettings)


def _asked(words: Sequence[str]) -> list[str]:
    """The words to look for: a recipe may stand before them, as in the command's other calls."""
    known = bool(words) and (words[0] in shipped_recipes() or Path(words[0]).is_file())
    return list(words[1:] if known else words)


def show_settings(command: str, words: Sequence[str], *, as_json: bool) -> None:
    found = find_settings(stage_of(command).schema, words)
    if as_json:
        return say_json([one.as_dict() for one in found])
    width = min(shutil.get_terminal_size().columns, 120)
    lines = [line for one in found for line in lines_of(one, width)]
    asked = f" for {' '.join(words)}" if words else ""
    many = "1 setting" if len(found) == 1 else f"{len(found)} settings"
    return say("\n".join([f"{many} of `steersman {command}`{asked}, given as NAME=VALUE:", "", *lines]))


def lines_of(one: SettingInfo, width: int) -> list[str]:
    head = f"{one.name}   {one.type}   " + (
        one.default if one.default.startswith(REQUIRED) else f"default {one.default}"
    )
    said = [one.meaning] if one.meaning else []
    said += [f"in TRL, OpenRLHF or verl: {', '.join(one.elsewhere)}"] if one.elsewhere else []
    wrapped = [
        line for text in said for line in textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
    ]
    return [head, *wrapped]
