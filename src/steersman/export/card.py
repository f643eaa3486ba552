"""The model card (README.md) of an exported model, from the stamp and the recipe of the run that made it.

Local paths, secrets and annotators' names are left out: a place is called by its last part.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.export.compare import Difference
from steersman.runs.folder import RunFolder
from steersman.runs.kinds import command_of, title_of
from steersman.runs.stamp import read_stamp
from steersman.secrets import concealed

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_PATH = re.compile(r"(?<![\w.])(?:~|\.{1,2})?(?:/[^\s/'\",\]]+)+/?")
LEFT_OUT = ("run", "notify", "log")
"""Groups of settings that are about a machine and not about the model."""


def model_card(place: str, kind: str, difference: Difference, notes: list[str], licence: str | None) -> str:
    """The card's text, with the block of metadata that the hub reads."""
    run = RunFolder(Path(place).expanduser())
    stamp = read_stamp(run.stamp_path) if run.is_run and run.stamp_path.exists() else {}
    recipe = tomllib.loads(run.recipe_path.read_text(encoding="utf-8")) if stamp and run.recipe_path.exists() else {}
    base = str(recipe.get("model", {}).get("path", "")) if stamp else ""
    lines = [*_metadata(base, kind, str(stamp.get("kind", "")), licence), "", f"# {_name(place)}", ""]
    lines += [_opening(kind, str(stamp.get("kind", "")), base), ""]
    if stamp:
        lines += ["## How it was made", "", *_origin(stamp, base), "", "## Settings", "", "```toml"]
        lines += [*_settings(recipe), "```", ""]
        lines += ["## Reproduce it", "", *_command(stamp), ""]
    lines += ["## Checked at export", "", f"- {difference.shown}", *(f"- {note}" for note in notes), ""]
    lines += ["## Limits", "", "- " + _limit(kind), ""]
    return "\n".join(lines)


def _metadata(base: str, kind: str, method: str, licence: str | None) -> list[str]:
    from huggingface_hub import ModelCardData

    tags = ["steersman", "rlhf", *([method] if method else [])]
    data = ModelCardData(
        library_name="transformers",
        license=licence,
        base_model=base if _HUB.fullmatch(base) else None,
        pipeline_tag="text-classification" if kind == "reward" else "text-generation",
        tags=tags,
    )
    return ["---", data.to_yaml().strip(), "---"]


def _opening(kind: str, method: str, base: str) -> str:
    made = f", made by {title_of(method)} with Steersman" if method else ", exported by Steersman"
    what = "A reward model" if kind == "reward" else "A language model"
    start = f" It started from `{_name(base)}`." if base else ""
    return f"{what}{made}.{start}"


def _origin(stamp: Mapping[str, Any], base: str) -> list[str]:
    found = [f"- method: {title_of(str(stamp.get('kind', '')))}"]
    if base:
        found.append(f"- base: `{_name(base)}`")
    for what in ("data", "parents"):
        for name, value in dict(stamp.get(what) or {}).items():
            found.append(f"- {'data' if what == 'data' else 'from'}: `{_name(str(name))}` ({_name(str(value))[:60]})")
    libraries = ", ".join(f"{name} {version}" for name, version in dict(stamp.get("libraries") or {}).items())
    found.append(f"- Steersman {stamp.get('steersman')}, {libraries}")
    seeds = ", ".join(f"{name} {value}" for name, value in dict(stamp.get("seeds") or {}).items())
    return [*found, f"- seeds: {seeds}"] if seeds else found


def _settings(recipe: Mapping[str, Any]) -> list[str]:
    import tomli_w

    kept = {name: value for name, value in dict(concealed(recipe)).items() if name not in LEFT_OUT}
    return [without_paths(line) for line in tomli_w.dumps(kept).strip().splitlines()]


def _command(stamp: Mapping[str, Any]) -> list[str]:
    return [
        "The settings above, saved as recipe.toml, with the data in place: "
        f"`steersman {command_of(str(stamp['kind']))} recipe.toml --out runs/again`."
    ]


def _limit(kind: str) -> str:
    if kind == "reward":
        return (
            "Its scores compare answers to one prompt. They are no probabilities, and a policy that is trained on them "
            "can exploit them."
        )
    return "It was checked to be the model of the run, not to be right or harmless."


def _name(place: str) -> str:
    """A place without where it is: a hub id and a source's name stay, of a path the last part."""
    if _HUB.fullmatch(place) and not place.startswith("."):
        return place
    return without_paths(place)


def without_paths(text: str) -> str:
    """The text with each absolute or relative path cut to its last part."""
    return _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)
