"""`steersman recipe`: the recipes that ship with Steersman."""

import difflib
from typing import Annotated

import typer

from steersman.assemble.stages import STAGES
from steersman.cli.command import Json
from steersman.cli.recipes import Recipe
from steersman.errors import UsageError
from steersman.printing import say, say_json
from steersman.settings.base import shipped_recipes
from steersman.settings.shipped import describe_recipes, recipe_text

app = typer.Typer(no_args_is_help=True, help="The recipes that ship with Steersman: list them, or print one to change.")


@app.command("list", epilog="Example: steersman recipe list")
def list_command(recipe: Recipe = None, json: Json = False) -> None:
    """All shipped recipes, each with the command that runs it and what it is for."""
    found = describe_recipes({name: stage.schema for name, stage in STAGES.items()})
    if json:
        return say_json([one.as_dict() for one in found])
    commands = [f"steersman {one.command} {one.name}" for one in found]
    width = max(map(len, commands))
    return say("\n".join(f"{command:{width}}  {one.meaning}" for command, one in zip(commands, found, strict=True)))


@app.command("show", epilog="Example: steersman recipe show ppo-harbour > mine.toml")
def show_command(
    name: Annotated[str, typer.Argument(help="The name of a shipped recipe.")],
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Print a shipped recipe, with its comments, to start one of your own."""
    known = shipped_recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        raise UsageError(f"no recipe {name!r} ships with Steersman; {hint}")
    text = recipe_text(name)
    if json:
        return say_json({"name": name, "text": text})
    return say(text, end="")
