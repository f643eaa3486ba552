"""What a model was made from, as the rows of a card: its base, and each source of data with its licence."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import SteersmanError
from steersman.export.private import is_hub_id, named
from steersman.lineage.walk import Ancestor, ancestors_of

UNKNOWN = "not stated"
OF_BASES = ("model.path", "model")
_OF_DATA = re.compile(r"(^|\.)(data|prompts|mix|pretraining|source|sources|held_out)(\.|$)")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
# As their own pages state them; asked of the hub's cache first.
KNOWN_LICENCES = {
    "Anthropic/hh-rlhf": "mit",
    "HuggingFaceH4/ultrafeedback_binarized": "mit",
    "HuggingFaceH4/ultrachat_200k": "mit",
    "openai/gsm8k": "mit",
    "openbmb/UltraFeedback": "mit",
    "nvidia/HelpSteer2": "cc-by-4.0",
    "OpenAssistant/oasst1": "apache-2.0",
    "databricks/databricks-dolly-15k": "cc-by-sa-3.0",
    "trl-lib/ultrafeedback_binarized": "mit",
}


@dataclass(frozen=True, slots=True)
class DataFact:
    """A source of data: what it was used for, its name without its place, its licence, and the hash of its content."""

    used_for: str
    name: str
    licence: str
    content: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The base that the first stage started from, and all data of all stages."""

    base: str
    base_on_hub: bool
    base_licence: str
    data: tuple[DataFact, ...]


def origin_of(place: Path, recipe: Mapping[str, Any]) -> Origin:
    """What is known of a run's or a model's origin from its lineage; else from the recipe."""
    parents = ancestors_of(place) if place.exists() else ()
    base, content = _base(parents)
    if not base:
        base = str(recipe.get("model", {}).get("path", ""))
    on_hub = not content and is_hub_id(base)
    rows = {(one.used_for, one.name, one.content): one for one in _data(parents, _kind_of(place))}
    return Origin(
        named(base) if base else "", on_hub, licence_of(base, "model") if base else UNKNOWN, (*rows.values(),)
    )


def _kind_of(place: Path) -> str:
    try:
        return str(json.loads((place / "lineage.json").read_bytes()).get("kind", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _base(parents: Sequence[Ancestor]) -> tuple[str, str]:
    """The name and content of the model at the root, by the settings that say which model a stage starts from."""
    found = next((one for one in parents if one.setting in OF_BASES), None)
    if found is None:
        return "", ""
    deeper = _base(found.parents)
    return deeper if deeper[0] else (found.name, found.content)


def _data(parents: Sequence[Ancestor], kind: str) -> Iterator[DataFact]:
    for one in parents:
        if _OF_DATA.search(one.setting) and not one.setting.startswith(OF_BASES):
            yield DataFact(kind or one.setting, named(one.name), licence_of(one.name, "dataset"), one.content[:12])
        yield from _data(one.parents, one.kind)


def licence_of(name: str, kind: str) -> str:
    """The licence of a model or of data, as far as it is known without asking anybody."""
    if name.startswith(("harbour:", "tiny:")):
        return "apache-2.0 (part of Steersman)"
    if name.startswith("studio:"):
        return _of_project(name.removeprefix("studio:"))
    path = Path(name.partition("?")[0]).expanduser()
    beside = path.with_name(f"{path.name}.card.json")
    if beside.is_file():
        return str(_json(beside).get("licence") or UNKNOWN)
    for folder in (path, path.parent) if path.exists() else ():
        if (folder / "README.md").is_file() and (said := licence_said(folder / "README.md")):
            return said
    if not path.exists() and is_hub_id(name):
        return _of_hub(name, kind)
    return UNKNOWN


def _of_hub(name: str, kind: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "README.md", repo_type=kind)
    said = licence_said(Path(cached)) if isinstance(cached, str) else ""
    return said or KNOWN_LICENCES.get(name, UNKNOWN)


def licence_said(readme: Path) -> str:
    """The licence in the metadata of a README of the hub; empty where it has none."""
    import yaml

    found = _FRONT.match(readme.read_text(encoding="utf-8", errors="replace"))
    try:
        content = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return ""
    said = content.get("license") if isinstance(content, dict) else None
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said or "")


def _of_project(rest: str) -> str:
    from steersman.store.projects import facts_of
    from steersman.store.sources import parsed_source

    try:
        with parsed_source(rest).opened() as found:
            return facts_of(found).licence or UNKNOWN
    except SteersmanError:
        return UNKNOWN


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def data_lines(origin: Origin) -> list[str]:
    """The table of the data."""
    if not origin.data:
        return ["The data is not recorded."]
    lines = ["| used by | data | licence | sha256 |", "|---|---|---|---|"]
    return lines + [f"| {one.used_for} | `{one.name}` | {one.licence} | {one.content} |" for one in origin.data]
