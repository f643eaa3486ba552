"""Where it is written what an artefact was made from.

runs/ppo/lineage.json          of a run: its inputs by name and hash
runs/ppo/model/lineage.json    of a model, and goes with it: its inputs by hash, and theirs, without places
answers.jsonl.lineage          of a file or a folder that is no run: its inputs, its hash and its recipe
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.lineage.inputs import Input, content_at, inputs_of, path_named
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.identity import name_in
from steersman.runs.model_folder import model_folder
from steersman.runs.stamp import commit_of, read_stamp, version_of
from steersman.secrets import concealed
from steersman.settings.base import Settings, to_toml
from steersman.settings.toml import parse_toml

FILE, SUFFIX = "lineage.json", ".lineage"
_HASHED = " sha256:"


@dataclass(frozen=True, slots=True)
class Made:
    """How an artefact was made: by which command, from what. `settings` are those of a file's command.

    `ancestors` are what its inputs were made from, by `key_of`, as far as that was known.
    """

    kind: str
    inputs: tuple[Input, ...]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    output: str = ""
    ancestors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def write_sidecar(out: str | Path, command: str, settings: Settings, *more: Input) -> None:
    """Write what a file, or a folder that is no run, was made from. It is written anew each time."""
    write_record(out, command, (*inputs_of(settings), *more), parse_toml(to_toml(settings).encode(), command))


def write_record(out: str | Path, command: str, inputs: Sequence[Input], settings: Mapping[str, Any]) -> None:
    """The same for a command whose settings are its options."""
    path = Path(out).expanduser()
    content = {
        "kind": command,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "steersman": version_of("steersman"),
        "commit": commit_of(Path(__file__).parents[1]),
        "output": content_at(path),
        "inputs": [asdict(one) for one in inputs],
        "settings": concealed(dict(settings)),
    }
    _write(sidecar_of(path), content)


def write_run_lineage(folder: RunFolder, kind: str, settings: Settings, parents: Mapping[str, str]) -> None:
    """Write what a run is made from, when it begins. Parents without a content, such as a hub id, are names."""
    path = folder.path / FILE
    if path.exists():
        return
    known = inputs_of(settings)
    names = [Input(name, parent, "") for name, parent in parents.items() if _HASHED not in parent]
    named = {one.name for one in known}
    inputs = [asdict(one) for one in (*known, *(one for one in names if one.name not in named))]
    _write(path, {"kind": kind, "inputs": inputs})


def write_model_lineage(folder: RunFolder, model: Path) -> None:
    """Write a run's lineage into its model's folder, so that it goes with it: without places, with its ancestors.

    The same run gives the same bytes, wherever it is.
    """
    made = read_run(folder)
    if made is None:
        return
    ancestors: dict[str, Mapping[str, Any]] = {}
    _gather(made.inputs, ancestors)
    inputs = [_placeless(one) for one in made.inputs]
    _write(model / FILE, {"kind": made.kind, "inputs": inputs, "ancestors": dict(sorted(ancestors.items()))})


def _gather(inputs: Sequence[Input], ancestors: dict[str, Mapping[str, Any]]) -> None:
    """Add what these inputs were made from, and what that was made from, as far as it is recorded."""
    for one in inputs:
        path = path_named(one.name)
        if path is None or not one.content or key_of(one) in ancestors:
            continue
        try:
            earlier = recorded_at(path)
        except DataError:
            continue  # a record that cannot be read is no reason to lose a model
        if earlier is not None and earlier.output in ("", one.content):
            ancestors |= earlier.ancestors
            inner = [_placeless(each) for each in earlier.inputs]
            ancestors[key_of(one)] = {"kind": earlier.kind, "inputs": inner}
            _gather(earlier.inputs, ancestors)


def key_of(one: Input) -> str:
    """What an input is called among ancestors. Two artefacts may have the same content, such as labels that all passed
    a gate."""
    return f"{placeless(one.name)} {one.content}"


def placeless(name: str) -> str:
    """A name without its folder and its query. Names with a scheme (harbour:, studio:) are no places."""
    return name if re.match(r"[a-z]+:", name) else Path(name.partition("?")[0]).name


def _placeless(one: Input) -> dict[str, str]:
    return {**asdict(one), "name": placeless(one.name)}


def owner_of(path: Path) -> Path:
    """The artefact that a file or folder belongs to: itself, or the run whose folder it is in."""
    if made_at(path) is None:
        return next((folder for folder in path.parents if RunFolder(folder).is_run), path)
    return path


def recorded_at(path: Path) -> Made | None:
    """How a file or folder was made, or the run that it is part of."""
    return made_at(owner_of(path))


def made_at(path: Path) -> Made | None:
    """How the artefact at this place was made; None if nothing is recorded of it."""
    if sidecar_of(path).is_file():
        made, beside = _read(sidecar_of(path)), _read(path / FILE)
        return made if made is None or beside is None else replace(made, ancestors=beside.ancestors)
    if path.is_dir():
        own = model_folder(path)
        made = read_run(RunFolder(path)) or _read(path / FILE)
        beside = _read(own / FILE) if own != path else None
        if made is not None and beside is not None:
            return replace(made, ancestors=beside.ancestors)
        return made or beside
    return None


def read_run(folder: RunFolder) -> Made | None:
    """How a run was made; of a run of an earlier release what its stamp says."""
    if (folder.path / FILE).is_file() and folder.is_run:
        return _read(folder.path / FILE)
    if not folder.stamp_path.is_file():
        return None
    stamp = read_stamp(folder.stamp_path)
    parents = {name: str(parent) for name, parent in dict(stamp.get("parents") or {}).items()}
    inputs = [
        Input(name, name_in(parent), parent.rpartition(_HASHED)[2] if _HASHED in parent else "")
        for name, parent in parents.items()
    ]
    return Made(str(stamp.get("kind", "")), tuple(inputs))


def _read(path: Path) -> Made | None:
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_bytes())
        inputs = tuple(Input(one["setting"], one["name"], one["content"]) for one in read["inputs"])
        return Made(read["kind"], inputs, read.get("settings", {}), read.get("output") or "", read.get("ancestors", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as a lineage: {error!r}. Delete it; what it belongs to stays as it is"
        ) from error


def _write(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    atomic_write_text(path, json.dumps(concealed(content), indent=1, ensure_ascii=False) + "\n")
