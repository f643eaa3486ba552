"""What runs there are and how they stand, from their files alone: nothing is loaded, locked or changed.

Listing looks at names, sizes and manifests; only resuming a run hashes its checkpoints.
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

TAIL_ROWS = 20


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run at a glance. `state` is running, finished, stopped or damaged; `problems` says what is damaged.

    `last` holds the newest value of each name in the last rows; None is one that was not finite. `seconds` is from the
    start to the last sign of life.
    """

    name: str
    path: Path
    kind: str
    state: str
    step: int
    last: Mapping[str, float | None]
    started: str
    seconds: float | None
    problems: tuple[str, ...]


def list_runs(root: Path) -> list[RunSummary]:
    """Every run directly under `root`, the newest first."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    runs = [_summarise(RunFolder(path), malformed=[]) for path in folders if RunFolder(path).is_run]
    return sorted(runs, key=lambda run: (_moment(run.started), run.name), reverse=True)


def show_run(path: Path) -> tuple[RunSummary, list[dict[str, Any]]]:
    """One run and the last rows of its journal; here the whole journal is read for damaged lines."""
    folder = RunFolder(path)
    if not folder.is_run:
        raise UsageError(f"{path} is not a run: it has neither recipe.toml nor stamp.json. Name a run's folder.")
    malformed = [str(line) for line in malformed_lines(folder.journal_path)]
    return _summarise(folder, malformed), last_rows(folder.journal_path, TAIL_ROWS)


def _summarise(folder: RunFolder, malformed: list[str]) -> RunSummary:
    problems = list(malformed)
    stamp = _read(problems, folder.stamp_path, read_stamp)
    _read(problems, folder.recipe_path, lambda path: tomllib.loads(path.read_text()))
    ending = _read(problems, folder.ending_path, lambda path: json.loads(path.read_text()))
    store = CheckpointStore(folder.checkpoints)
    steps = store.steps()
    for step in steps:
        problems += [f"{store.path_of(step).name}/{line}" for line in store.verify(store.path_of(step), contents=False)]
    rows = last_rows(folder.journal_path, TAIL_ROWS)
    last = {name: value for row in rows for name, value in row.items() if _is_number(name, value)}
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
        seconds=max(times) - began if times and began else None,
        problems=tuple(problems),
    )


def _read(problems: list[str], path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = read(path)
    except (DataError, OSError, ValueError) as error:
        problems.append(f"{path.name}: unreadable ({error})")
        return {}
    return content if isinstance(content, dict) else {}


def _state(folder: RunFolder, ending: Mapping[str, Any], problems: list[str]) -> str:
    if holder_of(folder.path) is not None:
        return "running"
    if problems:
        return "damaged"
    # A run that was killed could not say so: without an ending it has stopped and can be continued.
    return ending["state"] if ending.get("state") in ENDED else "stopped"


def _is_number(name: str, value: object) -> bool:
    return name not in RESERVED and (value is None or isinstance(value, int | float))


def _moment(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return 0.0
