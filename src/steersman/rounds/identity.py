"""The identity of a stage: a hash of its command, the command's version, its settings and all that it reads.

The output of another stage stands for that stage's identity; files and model folders stand for their content. So a
changed setting, or a changed file, gives a stage, and all that follow it, another identity and another output.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.lineage.inputs import NAMES_NO_CONTENT, content_named, flat_settings, texts_in
from steersman.rounds.graph import Graph, StageNode, resolved
from steersman.settings.manner import is_manner

LENGTH = 12
# The same as `is_manner` for the commands that leave a file.
MANNER_OF_FILES = {"device", "force", "prompts_at_once", "poll", "wait"}


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
    for key, value, names_something in flat_settings(settings):
        if key == stage.out_setting or is_manner(key) or key in MANNER_OF_FILES or value is None:
            continue
        kept[key] = value
        for text in texts_in(value) if names_something and key not in NAMES_NO_CONTENT else ():
            content = None if text.startswith("stage:") else content_named(text)
            if content:
                inputs[text] = content
    return Identity(stage.command.command, stage.command.version, kept, inputs)
