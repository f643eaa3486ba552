"""What the shipped recipes are for: one line each, and the command that runs them."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from steersman.settings.base import Settings, shipped_recipes

ROUNDS = "rounds run"


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    name: str
    command: str
    meaning: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def recipe_text(name: str) -> str:
    return (resources.files("steersman") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def describe_recipes(schemas: Mapping[str, type[Settings]]) -> list[ShippedRecipe]:
    """All shipped recipes, each with its command: the one in its name, or else the first that has its settings."""
    return [_describe(name, schemas) for name in shipped_recipes()]


def _describe(name: str, schemas: Mapping[str, type[Settings]]) -> ShippedRecipe:
    text = recipe_text(name)
    values: dict[str, Any] = tomllib.loads(text)
    if "stages" in values or "rounds" in values:
        return ShippedRecipe(name, ROUNDS, _first_sentence(text))
    named = sorted((one for one in schemas if name.startswith(f"{one}-")), key=len, reverse=True)
    fitting = [one for one, schema in schemas.items() if values.keys() <= schema.model_fields.keys()]
    return ShippedRecipe(name, (named or fitting)[0], _first_sentence(text))


def _first_sentence(text: str) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    said = " ".join(comment)
    ends = [place for mark in (". ", ": steersman ") if (place := said.find(mark)) >= 0]
    first = said[: min(ends)] if ends else said
    return first.rstrip(".:,") + "."
