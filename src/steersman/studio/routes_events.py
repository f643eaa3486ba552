"""The API for what happened in a project: events from a cursor on, and progress as it comes (server-sent events)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from steersman.store.listing import head_of, list_events
from steersman.store.progress import project_progress
from steersman.studio.access import CanSee, open_door
from steersman.studio.submissions import LARGEST

router = APIRouter(prefix="/api/projects/{project}", tags=["projects"])

LOOK_EVERY, SIGNED_IN_EVERY = 1.0, 60.0
"""Seconds between looks for something new, and between looks whether the session still holds."""


@router.get("/events")
def events(
    here: CanSee,
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Labels, undos, skips, flags, comments and decisions, in order, under pseudonyms."""
    return list_events(here.project, after=after, limit=limit)


@router.get("/progress/stream", response_class=Response)
async def progress_stream(here: CanSee, request: Request) -> EventSourceResponse:
    """Progress, whenever it changed. Each message's id is the number of the last event: a client that comes back with
    `Last-Event-ID` hears of what is newer."""
    told = request.headers.get("last-event-id", "")
    seen = int(told) if told.isdecimal() and len(told) < 16 else -1

    async def changes() -> AsyncIterator[ServerSentEvent]:
        nonlocal seen
        waited = 0.0
        while not await request.is_disconnected():
            head = await run_in_threadpool(head_of, here.project)
            if head != seen:
                seen = head
                progress = await run_in_threadpool(project_progress, here.project)
                yield ServerSentEvent(json.dumps(progress), event="progress", id=str(head))
            await asyncio.sleep(LOOK_EVERY)
            waited += LOOK_EVERY
            if waited >= SIGNED_IN_EVERY:
                waited = 0.0
                if (await run_in_threadpool(open_door, request)).person is None:
                    return

    return EventSourceResponse(changes())
