"""What of a text is about a machine or a person and not about a model: paths, hosts, secrets, annotators' names."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steersman.errors import ModelError
from steersman.secrets import conceal

HUB = re.compile(r"[\w.-]+/[\w.-]+")
GROUPS = ("people", "judges")
"""Keys of `data.weights` that name no one person."""
_PATH = re.compile(r"(?<![\w.:/])(?:~|\.{1,2})?(?:/[^\s/'\",\]]+)+/?")
_URL = re.compile(r"\b(https?|postgresql(?:\+\w+)?)://([^\s/'\",\]?#]+)")
_PUBLIC = ("huggingface.co", "github.com")
_SHORTEST = 4
"""Paths below this length (`/`, `/a`) are no private places."""


def without_paths(text: str) -> str:
    """The text with each absolute or relative path cut to its last part, and each address without its host."""
    text = _URL.sub(lambda found: found[0] if found[2].endswith(_PUBLIC) else f"{found[1]}://HOST", text)
    return _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)


def named(place: str) -> str:
    """A place without where it is: a hub id and a named source stay, of a path the last part."""
    if place.startswith("studio:"):
        return place.partition("store=")[0].rstrip("?&")
    if re.match(r"[a-z]{2,}:(?!//)", place) or is_hub_id(place):
        return place
    plain = without_paths(conceal(place))
    return plain if "://" in plain else plain.rstrip("/").rpartition("/")[2]


def is_hub_id(place: str) -> bool:
    """Whether a name is one of the hub's: ORG/NAME, and nothing on this disk."""
    return bool(HUB.fullmatch(place)) and not place.startswith((".", "runs/")) and not Path(place).exists()


def annotators_of(recipe: Mapping[str, Any], quality: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of people in a run's settings and in its report of quality, in one order."""
    weights = dict(recipe.get("data", {}).get("weights") or {})
    found = [name for name in weights if name not in GROUPS]
    found += [str(one["group"]) for one in quality.get("by_annotator") or []]
    positions = quality.get("positions") or {}
    found += [str(one["annotator"]) for one in positions.get("habits") or []]
    found += [str(one["who"]) for one in quality.get("contributed") or [] if one["who"] not in GROUPS]
    return tuple(dict.fromkeys(name for name in found if name))


def without_names(text: str, names: Iterable[str]) -> str:
    """The text with each of these people called by a number."""
    for number, name in sorted(enumerate(names, start=1), key=lambda one: -len(one[1])):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", f"annotator-{number}", text)
    return text


def refuse_private(text: str, places: Iterable[str]) -> None:
    """Raise if a place of this machine is left in what is to be published."""
    for place in places:
        if len(place) >= _SHORTEST and place.startswith(("/", "~")) and place in text:
            raise ModelError(f"the card still names the local path {place}; this is a fault of the export")
