"""The reference pages, made from the program itself: settings from their schemas, commands from the command line, the
Python API from its signatures."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

import steersman
from steersman.assemble.stages import STAGES
from steersman.cli.main import app
from steersman.records import Record
from steersman.settings.foreign import OURS
from steersman.settings.reference import REQUIRED, SettingInfo, settings_of

HEAD = "After this page you can {can}.\n"


def pages() -> dict[str, str]:
    """Path in the docs -> Markdown."""
    found = {
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/settings.md": settings_index(),
    }
    return found | {f"reference/settings/{_slug(name)}.md": settings_page(name) for name in with_settings()}


def with_settings() -> list[str]:
    return [name for name, stage in STAGES.items() if stage.schema is not None]


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _cell(text: str) -> str:
    """A text in one cell of a table."""
    return _code(text).replace("<", "&lt;")


def _code(text: str) -> str:
    """A text in one cell of a table, as code."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


# settings


def settings_index() -> str:
    lines = ["# Settings", "", HEAD.format(can="find every setting of every command, also by another library's name")]
    lines += [
        "A setting stands in a recipe (`[kl]`, `coefficient = 0.05`), on the command line (`kl.coefficient=0.05`)"
    ]
    lines += ['or in Python (`kl={"coefficient": 0.05}`).', ""]
    lines += ["| command | settings |", "|---|---|"]
    for name in with_settings():
        lines.append(f"| [`steersman {name}`](settings/{_slug(name)}.md) | {len(settings_of(STAGES[name].schema))} |")
    lines += ["", "## Names of TRL, OpenRLHF and verl", "", "| there | here |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(f'`{one}`' for one in ours)} |" for name, ours in sorted(OURS.items())]
    return "\n".join([*lines, ""])


def settings_page(name: str) -> str:
    title = f"Settings of {name}"
    lines = [f"# {title}", "", HEAD.format(can=f"set anything that `steersman {name}` has, and know its default"), ""]
    groups: dict[str, list[SettingInfo]] = {"": []}
    for one in settings_of(STAGES[name].schema):
        groups.setdefault(one.name.rpartition(".")[0], []).append(one)
    for group, members in groups.items():
        if members:
            # <name> would be read as a tag that is never closed
            heading = group.replace("<", "&lt;") or "General"
            lines += ["", f"## {heading}", "", "| setting | meaning |", "|---|---|"]
            lines += [f"| `{one.name}` | {_meaning(one)} |" for one in members]
    return "\n".join([*lines, ""])


def _meaning(one: SettingInfo) -> str:
    facts = [_cell(one.type), "required" if one.default == REQUIRED else f"default: `{_code(one.default)}`"]
    facts += [f"elsewhere: {', '.join(f'`{name}`' for name in one.elsewhere)}"] if one.elsewhere else []
    return f"{_cell(one.meaning)}{'<br>' * bool(one.meaning)}{'; '.join(facts)}"


# commands


def commands_page() -> str:
    import typer

    root = typer.main.get_command(app)
    lines = ["# Commands", "", HEAD.format(can="look up any command and its options"), ""]
    lines += ["`steersman COMMAND --help` says the same. Every command takes `--json` where it prints a result.", ""]
    for name, command in sorted(getattr(root, "commands", {}).items()):
        lines += list(_command(f"steersman {name}", command, 2))
    return "\n".join([*lines, ""])


def _command(name: str, command: Any, level: int) -> Iterator[str]:
    if command.hidden:
        return
    yield f"{'#' * level} `{name}`"
    yield ""
    yield _plain(command.help or "")
    yield ""
    if inner := getattr(command, "commands", None):
        for each, one in sorted(inner.items()):
            yield from _command(f"{name} {each}", one, min(level + 1, 4))
        return
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    shown = [f"| `{one.metavar or one.name.upper()}` | {_cell(_plain(one.help or ''))} |" for one in arguments]
    shown += [f"| {_names(one)} | {_cell(_plain(one.help or ''))} |" for one in options]
    if shown:
        yield "| argument or option | meaning |"
        yield "|---|---|"
        yield from shown
        yield ""
    if command.epilog:
        example = _plain(command.epilog).partition("Example:")[2].strip() or _plain(command.epilog)
        yield f"    {example}"
        yield ""


def _names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag else f" {(option.metavar or option.name).upper()}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _plain(text: str) -> str:
    """A help text without typer's markup."""
    return re.sub(r"\[/?(?:bold|dim|green|red|cyan|yellow)\]", "", text).strip()


# Python


def python_page() -> str:
    lines = ["# Python", "", HEAD.format(can="call every stage from Python, and hand it your own data and rewards"), ""]
    lines += [_doc(inspect.getmodule(steersman.ppo)), ""]
    calls = [name for name in steersman.__all__ if not isinstance(getattr(steersman, name), type)]
    lines += ["## Calls", ""]
    for name in calls:
        lines += list(_object(name, 3))
    lines += ["## Records and parts", ""]
    for name in steersman.__all__:
        if name not in calls:
            lines += list(_object(name, 3))
    return "\n".join([*lines, ""])


def _object(name: str, level: int) -> Iterator[str]:
    found = getattr(steersman, name)
    yield f"{'#' * level} `steersman.{name}`"
    yield ""
    try:
        shape = str(inspect.signature(found))
    except (TypeError, ValueError):
        shape = "(…)"
    yield "```python"
    yield f"steersman.{name}{_short(shape)}"
    yield "```"
    yield ""
    yield _doc(found)
    yield ""


def _short(shape: str) -> str:
    """A signature without the modules of its types, one parameter to a line if it is long."""
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", shape).replace("NoneType", "None")
    text = text.replace("<factory>", "…").replace(" | ".join(one.__name__ for one in get_args(Record)), "Record")
    if len(text) <= 88:
        return text
    inner, depth = "", 0
    for letter in text:
        depth += letter in "([{"
        depth -= letter in ")]}"
        inner += ",\n   " if letter == "," and depth == 1 else letter
    inner = inner.replace("(", "(\n    ", 1)
    head, _, tail = inner.rpartition(")") if "->" not in inner else inner.rpartition(") ->")
    return f"{head},\n)" + (f" ->{tail}" if "->" in text else tail)


def _doc(found: Any) -> str:
    """A docstring as Markdown: indented lines stay code, and names in backticks stay."""
    return inspect.cleandoc(inspect.getdoc(found) or "")
