"""The API for labelling: the next tasks, submissions (each counted exactly once), renewal, and a project's page."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request

from steersman.errors import DataError, SteersmanError
from steersman.store.claims import claim_tasks, renew_claims
from steersman.store.items import StoredItem, items_of
from steersman.store.labelling import Submission, comment_item, flag_item, skip_task, submit_label, undo_last
from steersman.store.people import Member
from steersman.store.progress import held_items, held_until, own_progress
from steersman.store.projects import Project, facts_of, guidelines_of, settings_of
from steersman.studio.access import CanLabel, CanOpen
from steersman.studio.problems import Problem, body_of, problem_of
from steersman.studio.rendering import safe_html
from steersman.studio.routes_practice import require_practice
from steersman.studio.routes_red_team import red_team_verdict
from steersman.studio.settings import StudioSettings
from steersman.studio.submissions import LARGEST, SubmittedEvent, verdict_of
from steersman.studio.tasks import KINDS, RED_TEAM, attributes_of, task_for

router = APIRouter(prefix="/api/projects/{project}", tags=["labelling"])

MOST_HELD = 12
"""Tasks that one person holds at once."""
MOST_IN_BATCH = 200


@router.get("")
def project(here: CanOpen) -> dict[str, Any]:
    """A project: title, guidelines as safe HTML, attributes, counts."""
    facts = facts_of(here.project)
    return {
        "project": facts.name,
        "title": str(facts.settings.get("title") or facts.name),
        "state": facts.state,
        "guidelines": safe_html(guidelines_of(here.project)),
        "attributes": attributes_of(facts.settings),
        "strength": facts.settings.get("strength") is not False,
        "rationale_required": facts.settings.get("rationale_required") is True,
        "counts": {"items": facts.items, "labels": facts.labels, "annotators": facts.annotators},
        "role": here.role,
        "rights": sorted(here.rights),
    }


@router.get("/tasks/next")
def next_tasks(
    here: CanLabel,
    request: Request,
    after: Annotated[
        int | None, Query(ge=1, le=LARGEST, description="the id of the last task that the client has")
    ] = None,
    ahead: Annotated[int, Query(ge=1, le=MOST_HELD)] = 1,
) -> dict[str, Any]:
    """The next tasks, each held for the one who asks. Those held up to and with `after` are not sent again."""
    found, member = here.project, here.as_member()
    settings: StudioSettings = request.app.state.studio.settings
    require_practice(here, member)
    with found.database.read() as connection:
        held = held_items(connection, member.annotator_id, KINDS)
    has = held[: held.index(after) + 1] if after in held else []
    count = min(len(has) + ahead, MOST_HELD)
    tasks = claim_tasks(found, member.pseudonym, count=count, kinds=KINDS, lease=settings.lease)
    fresh = [task for task in tasks if task.id not in has]
    shown = shown_tasks(found, member, fresh)
    return {"person": here.person.id, "tasks": shown, "progress": _progress(found, member)}


def shown_tasks(found: Project, member: Member, tasks: list[StoredItem]) -> list[dict[str, Any]]:
    settings = settings_of(found)
    with found.database.read() as connection:
        until = held_until(connection, member.annotator_id, [task.id for task in tasks])
    return [task_for(task, member.pseudonym, until.get(task.id, 0.0), settings) for task in tasks]


def _progress(found: Project, member: Member) -> dict[str, Any]:
    with found.database.read() as connection:
        own = own_progress(connection, found.id, member.annotator_id, KINDS)
    return {"done": own.done, "mine_left": own.left, "skipped": own.skipped}


@router.post("/renew")
def renew(here: CanLabel, request: Request) -> dict[str, Any]:
    """Keep the tasks that one holds for longer."""
    settings: StudioSettings = request.app.state.studio.settings
    return {"held": renew_claims(here.project, here.as_member().pseudonym, lease=settings.lease)}


@router.post("/events")
def submit(here: CanLabel, request: Request, event: SubmittedEvent) -> dict[str, Any]:
    """One submission. The same key again gives the same reply and changes nothing."""
    require_practice(here, here.as_member())
    return _submitted(here.project, here.as_member(), event, request.app.state.studio.settings)


@router.post("/events/batch")
def submit_all(
    here: CanLabel, request: Request, events: Annotated[list[SubmittedEvent], Body(max_length=MOST_IN_BATCH)]
) -> list[dict[str, Any]]:
    """Submissions in their order, as of a queue that was kept while there was no connection. Each has a reply of its
    own: that of `events`, or an `error`; one that is refused does not stop the others."""
    member, replies = here.as_member(), []
    require_practice(here, member)
    for event in events:
        try:
            replies.append(_submitted(here.project, member, event, request.app.state.studio.settings))
        except SteersmanError as error:
            problem = problem_of(error)
            if problem.status >= 500:
                raise
            replies.append({"key": event.key, "status": problem.status, **body_of(problem)})
        except Problem as problem:
            replies.append({"key": event.key, "status": problem.status, **body_of(problem)})
    return replies


def _submitted(found: Project, member: Member, event: SubmittedEvent, settings: StudioSettings) -> dict[str, Any]:
    if event.kind == "undo":
        return _undone(found, member, event, settings)
    assert event.task is not None
    task = items_of(found, [event.task]).get(event.task)
    if task is None:
        raise Problem(404, "not_found", f"there is no task {event.task} in this project")
    said = Submission(member.pseudonym, event.task, event.key)
    match event.kind:
        case "label" if event.choice == "cannot_judge":
            receipt = skip_task(found, said, f"cannot judge: {event.reason}" if event.reason else "cannot judge")
        case "label":
            if task.content.kind == RED_TEAM:
                verdict = red_team_verdict(found, member, event, task)
            else:
                verdict = verdict_of(event, task, member.pseudonym, settings_of(found))
            receipt = submit_label(found, Submission(member.pseudonym, event.task, event.key, verdict))
        case "skip":
            receipt = skip_task(found, said, event.reason)
        case "flag":
            receipt = flag_item(found, said, event.reason)
        case "comment":
            if not event.reason:
                raise DataError("a comment needs its `text`")
            receipt = comment_item(found, said, event.reason)
    return {"event": receipt.number, "counts": receipt.kind in ("label", "edit")}


def _undone(found: Project, member: Member, event: SubmittedEvent, settings: StudioSettings) -> dict[str, Any]:
    """The reply to an undo: with the task, which is held again, and what had been said of it."""
    done = undo_last(found, member.pseudonym, event.key, item_id=event.task, lease=settings.lease)
    if done is None:
        raise Problem(409, "nothing_to_undo", "there is nothing to undo")
    tasks: list[dict[str, Any]] = []
    if done.item_id is not None:
        task = items_of(found, [done.item_id])[done.item_id]
        tasks = shown_tasks(found, member, [task]) if task.content.kind in KINDS else []
    return {
        "event": done.receipt.number,
        "counts": False,
        "undone": {"kind": done.kind, "said": json.loads(json.dumps(dict(done.body)))},
        "task": tasks[0] if tasks else None,
    }
