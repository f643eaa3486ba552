"""A recipe of stages as a graph: each stage is one command with its settings, and `stage:NAME` in a setting is the
output of another stage."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from steersman.errors import UsageError
from steersman.settings.base import Settings, all_keys, check
from steersman.settings.nested import put_at
from steersman.settings.rounds import RoundsSettings

REFERENCE = re.compile(r"stage:([A-Za-z0-9_-]+)(.*)", re.DOTALL)
"""A setting that is the output of another stage, and what follows its name: /model, or ?limit=100."""


@runtime_checkable
class StageCommand(Protocol):
    """What a graph has to know of a command; `assemble.stages.Stage` is one."""

    @property
    def command(self) -> str: ...
    @property
    def schema(self) -> type[Settings]: ...
    @property
    def leaves(self) -> Literal["run", "file"]: ...
    @property
    def version(self) -> int: ...
    def run(self, settings: Settings, **more: Any) -> Any: ...


FindCommand = Callable[[str], StageCommand]


@dataclass(frozen=True, slots=True)
class StageNode:
    """One stage of a graph. `values` are its settings as the recipe has them, without where it writes.

    `needs` are the stages that it reads, or that the recipe says it comes after.
    """

    name: str
    command: StageCommand
    values: Mapping[str, Any]
    needs: tuple[str, ...]
    launch: str = "here"

    @property
    def out_setting(self) -> str:
        return "run.out" if "run" in self.command.schema.model_fields else "out"

    @property
    def seed_setting(self) -> str | None:
        """The setting that a recipe's seed is put into; None for a command that draws nothing."""
        keys = all_keys(self.command.schema)
        return next((key for key in ("run.seed", "seed", "judge.seed") if key in keys), None)

    def settings(self, outputs: Mapping[str, str], out: str, *, once: bool = False) -> Settings:
        """The settings that the stage runs with: references replaced by these outputs, and written to `out`.

        `once`: a stage that would wait for people stops instead.
        """
        values = replace_references(self.values, lambda name, rest: outputs[name] + rest)
        put_at(values, self.out_setting, out)
        if once and "wait" in self.command.schema.model_fields:
            values["wait"] = False
        if "force" in self.command.schema.model_fields:
            values["force"] = True  # what lies there is this stage's own, from before it was killed
        return check(self.command.schema, values)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a graph as they stand. What stages they have follows from the recipe and from what has been done:
    labels that a gate refused, decisions, and reasons to stop.

    `planned` is the last round with stages. `not_needed` are stages of later ones, with the reason. `turns` are stages
    after which the graph is read again, `may_ask` gates after whose refusal more labels are asked for. `superseded`
    are stages, by name and hash, that this course of things stands on.
    """

    settings: RoundsSettings
    planned: int
    stopped: str
    not_needed: Mapping[str, str]
    turns: frozenset[str]
    may_ask: frozenset[str]
    superseded: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Graph:
    """Stages in an order in which each comes after those that it needs. `out` is the folder of all their outputs."""

    name: str
    out: Path
    stages: tuple[StageNode, ...]
    recipe: str = ""
    overrides: tuple[str, ...] = field(default=())
    rounds: Rounds | None = None

    def __getitem__(self, name: str) -> StageNode:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UsageError(unknown(name, [stage.name for stage in self.stages], f"{self.name}: no stage"))

    def after(self, name: str) -> tuple[str, ...]:
        """The stages that need this one, directly or not."""
        found = {name}
        for stage in self.stages:
            if found & set(stage.needs):
                found.add(stage.name)
        return tuple(stage.name for stage in self.stages if stage.name in found and stage.name != name)


def ordered(stages: Sequence[StageNode]) -> tuple[StageNode, ...]:
    """The stages, each after those that it needs, and otherwise as they stand. A circle is an error."""
    left, done = {stage.name: stage for stage in stages}, dict[str, StageNode]()
    while left:
        ready = next((stage for stage in left.values() if all(name in done for name in stage.needs)), None)
        if ready is None:
            raise UsageError(f"stages wait for one another in a circle: {_circle(left)}; take one reference out")
        done[ready.name] = left.pop(ready.name)
    return tuple(done.values())


def _circle(left: Mapping[str, StageNode]) -> str:
    name = next(iter(left))
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(need for need in left[name].needs if need in left)
    return " needs ".join([*path[path.index(name) :], name])


def references(value: Any) -> Iterator[str]:
    """Names of the stages that a value refers to."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)
    elif isinstance(value, str) and (found := REFERENCE.fullmatch(value)):
        yield found[1]


def replace_references(values: Mapping[str, Any], by: Callable[[str, str], str]) -> dict[str, Any]:
    """A copy of the values with `by(name, what follows)` in place of each reference."""

    def one(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: one(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [one(inner) for inner in value]
        if isinstance(value, str) and (found := REFERENCE.fullmatch(value)):
            return by(found[1], found[2])
        return value

    return {key: one(inner) for key, inner in values.items()}


def get_at(values: Mapping[str, Any], key: str) -> Any:
    """The value with this dotted name; None if it is not there."""
    here: Any = values
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def resolved(stage: StageNode, by: Callable[[str, str], str]) -> Settings:
    """A stage's settings with all defaults; `by` says what stands for a reference. Where it writes is left open."""
    values = replace_references(stage.values, by)
    put_at(values, stage.out_setting, "-")
    return check(stage.command.schema, values)


def unknown(name: str, known: Sequence[str], words: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"{words} {name!r}; {hint}"
