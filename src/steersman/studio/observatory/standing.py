"""How a run stands, for its page and the list: state, steps, the time left, what the journal says."""

import json
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.runs.columns import JournalColumns
from steersman.runs.folder import RunFolder
from steersman.runs.kinds import step_name, title_of
from steersman.runs.listing import RunSummary, look_at
from steersman.runs.stamp import read_stamp
from steersman.runs.working_time import RESUMED
from steersman.secrets import concealed
from steersman.store.entry import when
from steersman.studio.observatory.folders import FoundFolder

LONGEST = 40
"""Sentences of the journal that a page begins with."""
TONES = {"running": "sea", "finished": "good", "stopped": "", "crashed": "bad", "damaged": "bad"}


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run as a page shows it. `left` are the seconds to its end, None if that is not known."""

    run: FoundFolder
    summary: RunSummary
    planned: int | None
    unit: str
    worked: float | None
    left: float | None

    @property
    def title(self) -> str:
        return title_of(self.summary.kind) if self.summary.kind else "a run"

    @property
    def tone(self) -> str:
        return TONES.get(self.summary.state, "")

    def as_dict(self) -> dict[str, Any]:
        """For programs, and for the page as the run goes on."""
        return {
            "id": self.run.id,
            "name": self.run.name,
            "kind": self.summary.kind,
            "state": self.summary.state,
            "step": self.summary.step,
            "steps": self.planned,
            "unit": self.unit,
            "started": self.summary.started or None,
            "worked": self.worked,
            "left": self.left,
            "problems": list(self.summary.problems),
        }


def standing_of(run: FoundFolder, journal: JournalColumns | None = None) -> RunStanding:
    """How a run stands. Without its journal's columns the time is not known."""
    summary = look_at(run.path)
    planned = steps_planned(run.path) if step_name(summary.kind) else None
    worked = left = None
    if journal is not None and len(journal):
        worked = journal.seconds
        if summary.state == "running":
            left = time_left(journal, planned, time.time())
    return RunStanding(run, summary, planned, step_name(summary.kind) or "part", worked, left)


def steps_planned(folder: Path) -> int | None:
    try:
        steps = json.loads(RunFolder(folder).planned_path.read_bytes())["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return steps if isinstance(steps, int) and steps > 0 else None


def time_left(journal: JournalColumns, planned: int | None, now: float) -> float | None:
    """By the pace since the last start; between two rows it runs down."""
    if planned is None or not len(journal):
        return None
    resumed = max((one.time for one in journal.notices if one.text.startswith(RESUMED)), default=0.0)
    first = next((row for row, moment in enumerate(journal.times) if moment >= resumed), 0)
    done = journal.steps[-1] - journal.steps[first]
    if done <= 0:
        return None
    each = (journal.times[-1] - journal.times[first]) / done
    ahead = max(0, planned - journal.steps[-1])
    return max(0.0, each * ahead - min(each, max(0.0, now - journal.times[-1])))


def sentences_of(journal: JournalColumns) -> list[dict[str, Any]]:
    """The journal's last sentences, the newest first."""
    return [
        {"step": one.step, "time": when(one.time), "text": one.text} for one in list(journal.notices)[-LONGEST:][::-1]
    ]


def moment_of(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return 0.0


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted name, as text."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return found


def recipe_of(run: FoundFolder) -> Mapping[str, Any]:
    try:
        return concealed(tomllib.loads(RunFolder(run.path).recipe_path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def kind_of(run: FoundFolder) -> str:
    """What a run's stamp calls it."""
    try:
        return str(read_stamp(RunFolder(run.path).stamp_path).get("kind", "run"))
    except DataError:
        return "run"
