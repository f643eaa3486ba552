"""The identity of a stage: a hash of its command, the command's version, its settings and all that it reads.

The output of another stage stands for that stage's identity; files and model folders stand for their content. So a
changed setting, or a changed file, gives a stage, and all that follow it, another identity and another output.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.rounds.graph import Graph, StageNode, resolved
from steersman.runs.hashes import known_hashes
from steersman.runs.identity import content_of
from steersman.settings.base import Settings
from steersman.settings.manner import is_manner

LENGTH = 12
# The same as `is_manner` for the commands that leave a file.
MANNER_OF_FILES = {"device", "force", "prompts_at_once", "poll", "wait"}
NAMES_NO_CONTENT = {"project", "file", "round", "reason", "until"}
"""Settings that name what people write to while the stage waits, and settings that only look like a file's name."""
_EMBEDDED = "harbour:"
_PROJECT = "studio:"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a stage's output follows from, and its hash. `settings` are flat; `inputs` are what settings stand for."""

    command: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def hash(self) -> str:
        text = json.dumps([self.command, self.version, dict(self.settings), dict(self.inputs)], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def identities(graph: Graph) -> dict[str, Identity]:
    """The identity of each stage, by name."""
    found: dict[str, Identity] = {}
    for stage in graph.stages:
        found[stage.name] = identity_of_stage(stage, {name: one.hash for name, one in found.items()})
    return found


def output_of(out: Path, stage: StageNode, identity: Identity) -> Path:
    """Where a stage with this identity writes: a run folder, or a file."""
    name = f"{stage.name}-{identity.hash}"
    return out / (name if stage.command.leaves == "run" else f"{name}.jsonl")


def identity_of_stage(stage: StageNode, hashes: Mapping[str, str]) -> Identity:
    """The identity of a stage by the hashes of those that it needs."""
    settings = resolved(stage, lambda name, rest: f"stage:{name}{rest}")
    kept: dict[str, Any] = {}
    inputs = {f"stage:{name}": hashes[name] for name in stage.needs}
    for key, value, names_something in _flat(settings):
        if key == stage.out_setting or is_manner(key) or key in MANNER_OF_FILES or value is None:
            continue
        kept[key] = value
        for text in _texts(value) if names_something and key not in NAMES_NO_CONTENT else ():
            content = None if text.startswith("stage:") else _content(text)
            if content:
                inputs[text] = content
    return Identity(stage.command.command, stage.command.version, kept, inputs)


def _flat(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Each setting by dotted name, with its value as JSON has it, and whether a text in it may name a file: not where
    it is one of a few choices."""
    dumped = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        groups = value if isinstance(value, Mapping) else {"": value}
        if groups and all(isinstance(group, Settings) for group in groups.values()):
            for key, group in groups.items():
                yield from _flat(group, f"{prefix}{name}.{key}." if key else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", dumped[name], "Literal" not in str(field.annotation)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _content(text: str) -> str | None:
    """A hash of the file or folder that a setting names, alone or before a query or a function's name; None if it names
    none."""
    if text.startswith(_EMBEDDED):
        return _digest_of_files(Path(__file__).parents[1] / "harbour")
    if text.startswith(_PROJECT):
        from steersman.store.sources import content_of_source

        return content_of_source(text.removeprefix(_PROJECT))
    for candidate in dict.fromkeys([text, text.partition("?")[0], text.rpartition(":")[0], text.partition(":")[2]]):
        path = Path(candidate).expanduser() if candidate else None
        if path is not None and _is_there(path):
            return known_hashes([path])[0] if path.is_file() else content_of(candidate)
    return None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _digest_of_files(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    parts = [
        f"{p.relative_to(folder).as_posix()}\0{digest}" for p, digest in zip(files, known_hashes(files), strict=True)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
