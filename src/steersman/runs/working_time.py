"""The seconds that a run worked, from its journal. The time between a stop and the resume is not work."""

import json
from collections import deque
from pathlib import Path
from typing import Any

RESUMED = ("resumed at ", "starting over: ")
"""How the notice of each later start begins."""
TOGETHER = 1.0
"""Notices of one start are written within so many seconds; the one that names the resume is not always the first."""
_BEFORE = 64


def working_seconds(journal: Path, began: float, ended: float) -> float:
    """The seconds from `began` to `ended` without those in which no process worked on the run.

    Rows that a resume deleted are gone, so the work that they recorded does not count.
    """
    idle = 0.0
    before: deque[tuple[float, bool]] = deque([(began, False)], maxlen=_BEFORE)
    with journal.open("rb") as file:
        for line in file:
            row = _row(line)
            if row is None:
                continue
            moment, notice = float(row["time"]), row.get("notice")
            if isinstance(notice, str) and notice.startswith(RESUMED):
                idle += _idle(before, moment)
            before.append((moment, isinstance(notice, str)))
    return max(0.0, ended - began - idle)


def _idle(before: deque[tuple[float, bool]], resumed: float) -> float:
    """The seconds from the last row of the earlier start to the first notice of this one."""
    woke = resumed
    for moment, is_notice in reversed(before):
        if not is_notice or resumed - moment > TOGETHER:
            return max(0.0, woke - moment)
        woke = moment
    return 0.0


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("time"), int | float) else None
