"""Outputs that no stage of the recipe, as it is now, would use."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from steersman.lineage.records import sidecar_of
from steersman.rounds.graph import Graph
from steersman.rounds.identity import identities
from steersman.rounds.records import Records, StageRecord
from steersman.runs.lock import lock_run


@dataclass(frozen=True, slots=True)
class Unused:
    """An output of a stage with settings, or of a name, that the recipe does not have any more."""

    record: StageRecord
    path: Path
    size: int


def unused(graph: Graph) -> list[Unused]:
    """What `clean` would delete: only what a record in the graph's folder says that a stage wrote."""
    used = {(name, one.hash) for name, one in identities(graph).items()}
    used |= graph.rounds.superseded if graph.rounds is not None else set()
    found: list[Unused] = []
    for record in Records(graph.out).all():
        # A record's output is a name, never a path: nothing outside the graph's folder is ever deleted.
        path = graph.out / Path(record.output).name
        if (record.stage, record.hash) not in used and path.name.startswith(f"{record.stage}-{record.hash}"):
            found.append(Unused(record, path, _size(path)))
    return found


def clean(graph: Graph) -> list[Unused]:
    """Delete them, with their records and logs."""
    with lock_run(graph.out):
        found, records = unused(graph), Records(graph.out)
        for one in found:
            if one.path.is_dir() and not one.path.is_symlink():
                shutil.rmtree(one.path)
            else:
                one.path.unlink(missing_ok=True)
            sidecar_of(one.path).unlink(missing_ok=True)
            (records.folder / f"{one.record.stage}-{one.record.hash}.log").unlink(missing_ok=True)
            records.remove(one.record)
    return found


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
