"""List of runs and their state, read from their files alone. No model is loaded; nothing is locked or changed.

Listing checks file names, sizes and manifests. Only resuming a run hashes its checkpoints.
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from steersman.errors import DataError, UsageError
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.folder import ENDED, RunFolder
from steersman.runs.journal import RESERVED, last_rows, malformed_lines
from steersman.runs.lock import holder_of
from steersman.runs.stamp import read_stamp
from steersman.runs.working_time import working_seconds

TAIL_ROWS = 20


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Summary of one run. `state` is running, finished, stopped, crashed or damaged; `problems` says what is damaged.

    `last` has the newest value of each metric in the journal's last rows; None means that it was not finite. `seconds`
    is the time that it worked until the last journal row or the end, without the time between a stop and a resume.
    """

    name: str
    path: Path
    kind: str
    state: str
    step: int
    last: Mapping[str, int | float | None]
    started: str
    seconds: float | None
    problems: tuple[str, ...]


def list_runs(root: Path) -> list[RunSummary]:
    """All runs directly under `root`, the newest first."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    runs = [_summarise(RunFolder(path), malformed=[]) for path in folders if RunFolder(path).is_run]
    return sorted(runs, key=lambda run: (_moment(run.started), run.name), reverse=True)


def show_run(path: Path) -> tuple[RunSummary, list[dict[str, Any]]]:
    """One run's summary and the last rows of its journal. The whole journal is checked for damaged lines."""
    folder = RunFolder(path)
    if not folder.is_run:
        raise UsageError(f"{path} is not a run: it has neither recipe.toml nor stamp.json. Give a run folder.")
    malformed = [str(line) for line in malformed_lines(folder.journal_path)]
    return _summarise(folder, malformed), last_rows(folder.journal_path, TAIL_ROWS)


def look_at(path: Path) -> RunSummary:
    """One run's summary without what only reading the whole journal tells: damaged lines, and the time worked."""
    return _summarise(RunFolder(path), [], whole=False)


def _summarise(folder: RunFolder, malformed: list[str], *, whole: bool = True) -> RunSummary:
    problems = list(malformed)
    stamp = _read(problems, folder.stamp_path, read_stamp)
    _read(problems, folder.recipe_path, lambda path: tomllib.loads(path.read_text()))
    ending = _read(problems, folder.ending_path, lambda path: json.loads(path.read_text()))
    store = CheckpointStore(folder.checkpoints)
    steps = store.steps()
    for step in steps:
        problems += [f"{store.path_of(step).name}/{line}" for line in store.verify(store.path_of(step), contents=False)]
    rows = last_rows(folder.journal_path, TAIL_ROWS)
    numbers = {name: value for row in rows for name, value in row.items() if _is_number(name, value)}
    last = {name: None if value is None else float(value) for name, value in numbers.items()}
    started = str(stamp.get("started", ""))
    times = [float(row["time"]) for row in (*rows, ending) if isinstance(row.get("time"), int | float)]
    began = _moment(started)
    return RunSummary(
        name=folder.path.name,
        path=folder.path,
        kind=str(stamp.get("kind", "")),
        state=_state(folder, ending, problems),
        step=max([row["step"] for row in rows] + steps, default=0),
        last=last,
        started=started,
        seconds=_worked(folder, began, max(times)) if whole and times and began else None,
        problems=tuple(problems),
    )


def _read(problems: list[str], path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = read(path)
    except (DataError, OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name}: unreadable ({error})")
        return {}
    return content if isinstance(content, dict) else {}


def _state(folder: RunFolder, ending: Mapping[str, Any], problems: list[str]) -> str:
    # Models that are averaged are trained one after the other in folders below, which are locked instead.
    members = sorted(path for path in folder.path.glob("member-*") if RunFolder(path).is_run)
    if any(holder_of(path) is not None for path in (folder.path, *members)):
        return "running"
    if problems:
        return "damaged"
    if ending.get("state") in ENDED:
        return ending["state"]
    # A process that was killed or ended with an error writes no ending.json. The run can be resumed all the same.
    return "stopped" if any(_stopped(RunFolder(path)) for path in members) else "crashed"


def _stopped(folder: RunFolder) -> bool:
    return _read([], folder.ending_path, lambda path: json.loads(path.read_text())).get("state") == "stopped"


def _worked(folder: RunFolder, began: float, ended: float) -> float:
    if not folder.journal_path.exists():
        return ended - began
    return working_seconds(folder.journal_path, began, ended)


def _is_number(name: str, value: object) -> bool:
    return name not in RESERVED and (value is None or isinstance(value, int | float))


def _moment(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return 0.0
