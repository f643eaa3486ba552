"""The API for runs: how they stand, their curves, and what is new as it comes (server-sent events)."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from steersman.reports.charts import compared_keys
from steersman.runs.folder import RunFolder
from steersman.runs.journal import continues
from steersman.studio.access import SeesRuns, open_door
from steersman.studio.observatory.drawn import charts_for, drawn_together, new_rows
from steersman.studio.observatory.folders import FoundFolder, RunFolders
from steersman.studio.observatory.routes import chosen_runs
from steersman.studio.observatory.standing import sentences_of, standing_of
from steersman.studio.routes_events import LOOK_EVERY, SIGNED_IN_EVERY
from steersman.studio.submissions import LARGEST

router = APIRouter(prefix="/api", tags=["runs"])

AT_ONCE = 400
"""Rows that one message adds; where more are new, the page asks for its curves again."""
STAND_EVERY = 5.0
"""Seconds between looks at how a run stands when its journal does not grow."""


@router.get("/runs")
def runs(door: SeesRuns) -> list[dict[str, Any]]:
    """All runs: kind, state, step."""
    return [standing_of(one).as_dict() for one in door.studio.runs.runs().values()]


@router.get("/runs/compare")
def compare(door: SeesRuns, run: Annotated[list[str], Query(max_length=50)]) -> dict[str, Any]:
    """Curves of two to four runs over common steps: held-out metrics, and a few others."""
    folders = door.studio.runs
    chosen = chosen_runs(folders, run)
    points: dict[str, dict[str, Any]] = {}
    journals: list[Any] = []
    for one in chosen:
        with folders.journal(one) as journal:
            journals.append(journal)
            for key in journal.metrics:
                points.setdefault(key, {})[one.id] = journal.drawn(key)
    names = {one.id: one.name for one in chosen}
    charts = [
        {"title": key, "key": key, "band": None, **drawn_together(points[key], names)}
        for key in compared_keys(journals)
        if len(points.get(key, {})) > 1
    ]
    return {"runs": list(names.values()), "x": "step", "main": charts}


@router.get("/runs/{run}")
def run(door: SeesRuns, run: str) -> dict[str, Any]:
    """How a run stands, with the last sentences of its journal."""
    found = door.studio.runs.run(run)
    with door.studio.runs.journal(found) as journal:
        return {**standing_of(found, journal).as_dict(), "notices": sentences_of(journal)}


@router.get("/runs/{run}/curves")
def curves(door: SeesRuns, run: str) -> dict[str, Any]:
    """The run's curves, thinned to what a chart can show, with the range of what was left out."""
    found = door.studio.runs.run(run)
    with door.studio.runs.journal(found) as journal:
        return charts_for(journal)


@router.get("/runs/{run}/stream", response_class=Response)
async def stream(
    door: SeesRuns,
    request: Request,
    run: str,
    cursor: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    rows: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
) -> EventSourceResponse:
    """What is new after a cursor: `rows` of the journal, how the run `stands`, and when its `answers` changed. `again`
    says that the curves have to be asked for anew. A client that comes back with `Last-Event-ID` goes on from there."""
    found = door.studio.runs.run(run)
    told = request.headers.get("last-event-id", "").split(":")
    if len(told) == 2 and all(part.isdecimal() and len(part) < 17 for part in told):
        cursor, rows = int(told[0]), int(told[1])
    live = LiveRun(door.studio.runs, found, cursor, rows)

    async def changes() -> AsyncIterator[ServerSentEvent]:
        waited = 0.0
        while not await request.is_disconnected():
            for event in await run_in_threadpool(live.look):
                yield event
            await asyncio.sleep(LOOK_EVERY)
            waited += LOOK_EVERY
            if waited >= SIGNED_IN_EVERY:
                waited = 0.0
                if not await run_in_threadpool(lambda: open_door(request).sees_runs):
                    return

    return EventSourceResponse(changes())


@dataclass
class LiveRun:
    """What one open page of a run has been told."""

    folders: RunFolders
    run: FoundFolder
    cursor: int
    rows: int
    _size: int = -1
    _answers: tuple[Any, ...] | None = None
    _stood: str = ""
    _quiet: float = STAND_EVERY

    def look(self) -> list[ServerSentEvent]:
        """What is new since the last look."""
        folder = RunFolder(self.run.path)
        try:
            size = folder.journal_path.stat().st_size
        except OSError:
            size = 0
        answers = _state_of_answers(folder)
        self._quiet += LOOK_EVERY
        grown, changed = size != self._size, answers != self._answers
        if not (grown or changed or self._quiet >= STAND_EVERY):
            return []
        self._quiet = 0.0
        found: list[ServerSentEvent] = []
        with self.folders.journal(self.run) as journal:
            if grown:
                self._size = size
                found += self._new(journal)
            stands = {**standing_of(self.run, journal).as_dict(), "notices": sentences_of(journal)}
        text = json.dumps({key: value for key, value in stands.items() if key not in ("left", "worked")})
        if text != self._stood or stands["left"] is not None:
            self._stood = text
            found.append(ServerSentEvent(json.dumps(stands), event="stands"))
        if changed:
            if self._answers is not None:
                found.append(ServerSentEvent("{}", event="answers"))
            self._answers = answers
        return found

    def _new(self, journal: Any) -> list[ServerSentEvent]:
        valid = continues(journal.path, self.cursor) and self.rows <= len(journal)
        before, self.cursor, known = self.rows, journal.cursor, self.cursor
        self.rows = len(journal)
        if valid and known == self.cursor:
            return []
        mark = f"{self.cursor}:{self.rows}"
        if not valid or self.rows - before > AT_ONCE:
            return [ServerSentEvent("{}", event="again", id=mark)]
        content = {"rows": self.rows, "new": new_rows(journal, before)}
        return [ServerSentEvent(json.dumps(content, separators=(",", ":")), event="rows", id=mark)]


def _state_of_answers(folder: RunFolder) -> tuple[Any, ...]:
    state: list[Any] = []
    for path in (folder.samples, folder.watch_path):
        try:
            found = path.stat()
            state.append((found.st_mtime_ns, found.st_size))
        except OSError:
            state.append(None)
    return tuple(state)
