"""Which stages are done, which would run, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.rounds.graph import Graph, StageNode
from steersman.rounds.identity import Identity, identities, output_of
from steersman.rounds.records import Records, StageRecord, like

Standing = Literal["done", "goes on", "to run"]


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage as things stand. `reasons` say why it would run; `record` is of the stage with this identity, if it was
    begun, and `seconds` how long it took, or would take by an earlier time."""

    stage: StageNode
    identity: Identity
    output: Path
    standing: Standing
    reasons: tuple[str, ...]
    record: StageRecord | None
    seconds: float | None

    @property
    def name(self) -> str:
        return self.stage.name


def progress_of(graph: Graph) -> list[StageProgress]:
    """How each stage stands. Reads files only, and changes none."""
    records, found = Records(graph.out), identities(graph)
    return [_progress(graph, stage, found[stage.name], records) for stage in graph.stages]


def _progress(graph: Graph, stage: StageNode, identity: Identity, records: Records) -> StageProgress:
    record, output = records.find(stage.name, identity.hash), output_of(graph.out, stage, identity)
    earlier = [one for one in records.of(stage.name) if one.hash != identity.hash]
    took = record.seconds if record is not None and record.state == "finished" else _seconds_of_like(stage, records)
    standing, reasons = _standing(record, output, identity, earlier)
    return StageProgress(stage, identity, output, standing, reasons, record, took)


def _seconds_of_like(stage: StageNode, records: Records) -> float | None:
    """What the stage took with other settings, or else a stage of its kind in another round."""
    finished = [one for one in records.like(like(stage.name)) if one.state == "finished"]
    own = [one.seconds for one in finished if one.stage == stage.name]
    return next(iter([*own, *(one.seconds for one in finished)]), None)


def _standing(
    record: StageRecord | None, output: Path, identity: Identity, earlier: list[StageRecord]
) -> tuple[Standing, tuple[str, ...]]:
    if record is None:
        return "to run", tuple(differences(earlier[0], identity)) if earlier else ("it has not run yet",)
    if record.state in ("failed", "refused"):
        said = record.why.splitlines()[0] if record.why else "no message"
        return "goes on", (f"it {'failed' if record.state == 'failed' else 'refused'}: {said}",)
    if not output.exists() and record.state == "finished":
        return "to run", (f"its output {output} is not there",)
    if record.state == "finished":
        return "done", ()
    return "goes on", (record.why or "it was stopped before its end",)


def differences_of(one: Graph, other: Graph) -> dict[str, list[str]]:
    """How the stages of two graphs differ, by name; a stage that is the same in both is not there."""
    before, now = identities(one), identities(other)
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys([*before, *now]):
        if name not in now or name not in before:
            found[name] = [f"only in {one.recipe if name in before else other.recipe}"]
        elif before[name].hash != now[name].hash:
            found[name] = differences(before[name], now[name])
    return found


def differences(before: StageRecord | Identity, now: Identity) -> list[str]:
    """What differs between a stage as it ran before and as it would run now, a sentence each."""
    said: list[str] = []
    if before.command != now.command:
        said.append(f"its command was {before.command} and is now {now.command}")
    elif before.version != now.version:
        said.append(f"the command {now.command} gives other results since version {now.version} of it")
    said += [f"{key} was {_shown(was)} and is now {_shown(new)}" for key, was, new in _changed(before.settings, now)]
    for name, was, new in _pairs(before.inputs, now.inputs):
        if name.startswith("stage:"):
            said.append(
                f"{name.removeprefix('stage:')} gives another output" if was and new else f"it reads {name} now"
            )
        elif was and new:
            said.append(f"{name} has another content")
    return said or ["something it stands on has changed"]


def _changed(before: Mapping[str, Any], now: Identity) -> list[tuple[str, Any, Any]]:
    return _pairs(before, now.settings)


def _pairs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = sorted({*before, *now})
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(value)
