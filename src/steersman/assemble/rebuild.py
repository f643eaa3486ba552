"""Rebuilding an artefact from its recipe into another folder, and comparing the bytes with what is there."""

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.assemble.round_stages import find_stage
from steersman.errors import DataError, UsageError
from steersman.lineage.records import Made, made_at
from steersman.lineage.walk import artefact_named, standing_of
from steersman.runs.folder import RunFolder
from steersman.runs.hashes import hash_of
from steersman.runs.kinds import command_of
from steersman.settings.base import Settings, check
from steersman.settings.nested import put_at
from steersman.settings.toml import read_toml

WORKING = ("journal.jsonl", "watch.jsonl", "quarantine.jsonl")
"""Files of a run that hold times, or how it was carried out."""


@dataclass(frozen=True)
class Rebuilt:
    """The result: which files are the same, which differ, and which are on one side only."""

    path: str
    out: str
    kind: str
    same: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return bool(self.same) and not self.differing

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "identical": self.identical}


def rebuild(place: str, out: str, *, quiet: bool = False) -> Rebuilt:
    """Make the artefact again, in `out`. What it was made from has to be there as it was."""
    path, into = artefact_named(place), Path(out).expanduser()
    made = made_at(path)
    if made is None:
        raise UsageError(f"nothing is recorded of how {path} was made, so that it cannot be rebuilt")
    if into.exists():
        raise UsageError(f"{into} is there already; give the folder or file to rebuild into another name")
    _refuse_changed(path, made)
    stage, values = _recipe(path, made)
    settings_of = find_stage(stage)
    run = "run" in settings_of.schema.model_fields
    put_at(values, "run.out" if run else "out", str(into))
    if "force" in values:
        values["force"] = False
    settings: Settings = check(settings_of.schema, values)
    settings_of.run(settings, quiet=quiet)
    before, after = _files(path), _files(into)
    names = sorted({*before, *after})
    same = [name for name in names if before.get(name) == after.get(name)]
    return Rebuilt(str(path), str(into), made.kind, tuple(same), tuple(name for name in names if name not in same))


def _refuse_changed(path: Path, made: Made) -> None:
    for one in made.inputs:
        standing = standing_of(one)
        if standing in ("changed", "gone"):
            said = "is not there any more" if standing == "gone" else "is not what it was any more"
            raise DataError(
                f"{path} was made from {one.name} ({one.setting}), which {said} (its hash was {one.content[:12]}); put "
                "it back to rebuild from it"
            )


def _recipe(path: Path, made: Made) -> tuple[str, dict[str, Any]]:
    """The command that made it, and its settings."""
    run = RunFolder(path)
    if run.recipe_path.is_file():
        return command_of(made.kind), read_toml(run.recipe_path)
    if not made.settings:
        raise UsageError(f"{path} is a model apart from its run, and its recipe is in the run's folder; rebuild that")
    return made.kind, deepcopy(dict(made.settings))


def _files(path: Path) -> dict[str, str]:
    """The files that an artefact consists of, by name, with their hashes."""
    if path.is_file():
        return {"": hash_of(path)}
    run = RunFolder(path)
    if not run.is_run:
        return {file.relative_to(path).as_posix(): hash_of(file) for file in path.rglob("*") if file.is_file()}
    found = [file for file in run.model.rglob("*") if file.is_file()] if run.model.is_dir() else []
    found += [file for file in path.glob("*.jsonl") if file.name not in WORKING]
    return {file.relative_to(path).as_posix(): hash_of(file) for file in found}
