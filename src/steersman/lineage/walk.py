"""Walking from an artefact: up to what it was made from, and down to what was made from it. No torch.

Artefacts know one another by hash. Up, an input's name says where it was: it may be there still, be changed, or be
gone, and then a model's own record tells what it was made from. Down, the folders below a place are searched.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.errors import UsageError
from steersman.lineage.inputs import Input, content_at, content_named, path_named
from steersman.lineage.records import FILE, SUFFIX, Made, key_of, made_at, owner_of, recorded_at
from steersman.runs.folder import RunFolder
from steersman.runs.hashes import known_hash
from steersman.runs.model_folder import model_folder

Standing = Literal["there", "changed", "gone", "named"]
SAID = {"there": "", "changed": "changed since", "gone": "not there any more", "named": "not a file"}


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One input of an artefact, how it stands now, and what it was made from itself. `again`: its parents stand
    where it came first."""

    setting: str
    name: str
    content: str
    kind: str
    standing: Standing
    again: bool
    parents: tuple["Ancestor", ...]

    def as_dict(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("setting", "name", "content", "kind", "standing", "again")}
        return {**facts, "parents": [parent.as_dict() for parent in self.parents]}


@dataclass(frozen=True, slots=True)
class Descendant:
    """An artefact that was made from another one: where it is, its kind, and by which of its settings."""

    path: str
    kind: str
    setting: str
    again: bool
    children: tuple["Descendant", ...]

    def as_dict(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("path", "kind", "setting", "again")}
        return {**facts, "children": [child.as_dict() for child in self.children]}


def artefact_named(place: str) -> Path:
    """The artefact that is meant: a place, or the run whose folder it is in."""
    path = path_named(place)
    if path is None:
        raise UsageError(f"there is no file and no folder {place!r}; expected a run, a model's folder or a file")
    return owner_of(path)


def ancestors_of(path: Path, base: Path | None = None) -> tuple[Ancestor, ...]:
    """What an artefact was made from, and what that was made from. Each one's parents are told once. Relative names
    begin from `base`, or else from the present folder."""
    made = made_at(path)
    return () if made is None else _parents(made, {}, set(), base)


def _parents(made: Made, known: Mapping[str, Any], told: set[str], base: Path | None) -> tuple[Ancestor, ...]:
    return tuple(_ancestor(one, {**known, **made.ancestors}, told, base) for one in made.inputs)


def _ancestor(one: Input, known: Mapping[str, Any], told: set[str], base: Path | None) -> Ancestor:
    path, standing = path_named(one.name, base), standing_of(one, base)
    made = recorded_at(path) if path is not None and standing == "there" else None
    if made is None and key_of(one) in known:
        said = known[key_of(one)]
        made = Made(
            said["kind"], tuple(Input(each["setting"], each["name"], each["content"]) for each in said["inputs"])
        )
    again = made is not None and key_of(one) in told
    told.add(key_of(one))
    parents = () if made is None or again else _parents(made, known, told, base)
    return Ancestor(one.setting, one.name, one.content, "" if made is None else made.kind, standing, again, parents)


def standing_of(one: Input, base: Path | None = None) -> Standing:
    """How an input stands now. A hash of an earlier release has half its digits."""
    if not one.content:
        return "named"
    now = content_named(one.name, base) if path_named(one.name, base) is not None or ":" in one.name else None
    return "gone" if now is None else "there" if now.startswith(one.content) else "changed"


def contents_of(path: Path) -> set[str]:
    """The hashes by which others know an artefact: of the whole, and of each of its files of rows."""
    found = {content_at(path)}
    if path.is_dir():
        found |= {known_hash(file) for file in path.glob("*.jsonl")}
        found |= {known_hash(file) for file in path.glob("*.json") if file.name not in (FILE, "stamp.json")}
    return {one for one in found if one}


def descendants_of(path: Path, under: Path) -> tuple[Descendant, ...]:
    """What was made from an artefact, directly or not, among what is found under a folder."""
    artefacts = {place: made for place in artefacts_under(under) if (made := made_at(place)) is not None}
    return _children(path, artefacts, {path.resolve()})


def _children(path: Path, artefacts: Mapping[Path, Made], told: set[Path]) -> tuple[Descendant, ...]:
    contents = contents_of(path)
    found: list[Descendant] = []
    for place, made in artefacts.items():
        setting = next((one.setting for one in made.inputs if _is_one_of(one.content, contents)), None)
        if setting is None or place.resolve() == path.resolve():
            continue
        again = place.resolve() in told
        told.add(place.resolve())
        children = () if again else _children(place, artefacts, told)
        found.append(Descendant(str(place), made.kind, setting, again, children))
    return tuple(found)


def _is_one_of(content: str, contents: set[str]) -> bool:
    return bool(content) and any(one.startswith(content) for one in contents)


def artefacts_under(folder: Path) -> Iterator[Path]:
    """Runs, files with a lineage beside them, and models with one in them, in the order of their names."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders.sort()
        if RunFolder(here).is_run and (here / "stamp.json").exists():
            folders.clear()
            yield here
            continue
        if FILE in files and model_folder(here) == here and not (here.parent / f"{here.name}{SUFFIX}").exists():
            yield here
        for name in sorted(files):
            if name.endswith(SUFFIX) and (here / name.removesuffix(SUFFIX)).exists():
                yield here / name.removesuffix(SUFFIX)


def lines_up(ancestors: tuple[Ancestor, ...], depth: int = 1) -> Iterator[str]:
    for one in ancestors:
        words = (one.kind, one.content[:12], SAID[one.standing], "as above" if one.again else "")
        said = ", ".join(word for word in words if word)
        yield f"{'  ' * depth}{one.setting}: {one.name}{f' ({said})' if said else ''}"
        yield from lines_up(one.parents, depth + 1)


def lines_down(descendants: tuple[Descendant, ...], depth: int = 1) -> Iterator[str]:
    for one in descendants:
        yield f"{'  ' * depth}{one.path} ({one.kind}, its {one.setting}{', as above' if one.again else ''})"
        yield from lines_down(one.children, depth + 1)
