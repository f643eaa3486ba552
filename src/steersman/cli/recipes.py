"""A recipe for commands that are no stage of training: `--recipe FILE`, whose keys are the command's own options."""

import difflib
from typing import Annotated, Any, no_type_check

import typer

from steersman.errors import UsageError
from steersman.settings.base import read_recipe


@no_type_check  # typer knows its context by this annotation and passes one of the class above
def _read(context: typer.Context, value: str | None) -> str | None:
    """Make the recipe's values the defaults of this call: what is given on the command line wins."""
    if value is None:
        return None
    given = {str(name).replace("-", "_"): one for name, one in read_recipe(value).items()}
    known = _names(context.command)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise UsageError(f"{value}: `{context.command_path}` has no option {name!r}; {hint}")
    context.default_map = {known[name]: one for name, one in given.items()}
    return value


def _names(command: Any) -> dict[str, str]:
    """The parameters of a command by the names of their options, without dashes; arguments by their own name."""
    found: dict[str, str] = {}
    for parameter in command.params:
        if parameter.name != "recipe":
            found[parameter.name] = parameter.name
            found |= {o[2:].replace("-", "_"): parameter.name for o in parameter.opts if o.startswith("--")}
    return found


Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        callback=_read,
        is_eager=True,
        help="A TOML or YAML file with this command's options by name (max_new_tokens = 64).",
        show_default=False,
    ),
]
