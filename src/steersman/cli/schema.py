"""`steersman schema`: the settings of a method as a JSON schema, for editors."""

from typing import Annotated

import typer

from steersman.assemble.stages import STAGES, stage_of
from steersman.cli.command import Json
from steersman.cli.recipes import Recipe
from steersman.printing import say
from steersman.settings.base import json_schema

EXAMPLE = "Example: steersman schema ppo > ppo.schema.json"


def schema(
    method: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}.")],
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """The JSON schema of a method's settings: names, types, defaults and what each setting means. An editor that knows
    it completes and checks recipes. The schema is JSON with and without --json."""
    say(json_schema(stage_of(method).schema))
