"""Pages for whoever runs a project. What they change goes through the API, like everything else."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from steersman.data.convert import TARGETS
from steersman.data.formats.registry import FORMATS
from steersman.secrets import conceal
from steersman.store.audit import read_audit
from steersman.store.entry import list_invites
from steersman.store.export import FULL
from steersman.store.pace import project_pace
from steersman.store.people import find_person, members_of
from steersman.store.progress import project_progress
from steersman.store.projects import Project, facts_of, guideline_versions, settings_of
from steersman.store.snapshots import list_snapshots
from steersman.store.task_list import count_items, list_tasks
from steersman.store.webhooks import list_webhooks
from steersman.studio.access import CanManage, CanSee, Here, RunsStudio, studio_of
from steersman.studio.rendering import page, project_page
from steersman.studio.responder import DEFAULTS
from steersman.studio.routes_tasks import told_task
from steersman.studio.submissions import LARGEST
from steersman.studio.tasks import RED_TEAM, attributes_of

router = APIRouter(include_in_schema=False)

AT_ONCE = 20
MOST_GOLD = 200
AUDIT_AT_ONCE = 50
Before = Annotated[int | None, Query(ge=1, le=LARGEST)]


@router.get("/new-project")
def new_project_page(request: Request, _: RunsStudio) -> HTMLResponse:
    return page(request, "new_project.html", title="New project")


@router.get("/projects/{project}")
def progress_page(request: Request, here: CanSee) -> Response:
    found = here.project
    progress = project_progress(found)
    pace = project_pace(found, progress=progress)
    names = _names(found) if "manage" in here.rights else {}
    return project_page(
        request,
        found,
        "progress.html",
        title="Progress",
        progress=progress,
        pace=pace,
        most=max(1, *(day["labels"] for day in pace["days"])),
        names=names,
        steps=_steps(here, progress) if "manage" in here.rights else [],
    )


def _names(found: Project) -> dict[str, tuple[int, str]]:
    """Person and name by pseudonym, for admins."""
    with found.database.read() as connection:
        members = members_of(connection, found.id)
        people = {one.pseudonym: find_person(connection, one.person_id) for one in members}
    return {pseudonym: (one.id, one.name) for pseudonym, one in people.items() if one is not None}


def _steps(here: Here, progress: dict[str, Any]) -> list[dict[str, Any]]:
    """What a new project needs, in order, and what of it is done. Empty where nothing is missing."""
    found, base = here.project, f"/projects/{here.project.name}"
    with found.database.read() as connection:
        labellers = [one for one in members_of(connection, found.id) if one.role in ("labeller", "reviewer")]
        invited = len(labellers) + len(list_invites(connection, found.id))
    steps = [
        {
            "title": "Upload what people shall judge",
            "text": "A file with prompts and answers, in any of the formats, or a table of your own.",
            "address": f"{base}/tasks",
            "done": progress["tasks"] > 0,
        },
        {
            "title": "Write guidelines",
            "text": "What makes an answer better. People read them before their first task, and beside each one.",
            "address": f"{base}/guidelines",
            "done": bool(guideline_versions(found)),
        },
        {
            "title": "Mark some tasks as gold items",
            "text": "Tasks whose answer you know. They show whether somebody has understood the guidelines.",
            "address": f"{base}/gold",
            "done": bool(list_tasks(found, gold=True, limit=1)),
        },
        {
            "title": "Invite people",
            "text": "Each gets a link that works once. They need no account and no installation.",
            "address": f"{base}/people",
            "done": invited > 0,
        },
    ]
    return [one for one in steps if not one["done"] or not progress["given"]] if any_left(steps) else []


def any_left(steps: list[dict[str, Any]]) -> bool:
    return not all(one["done"] for one in steps)


@router.get("/projects/{project}/tasks")
def tasks_page(request: Request, here: CanManage, after: Annotated[int, Query(ge=0, le=LARGEST)] = 0) -> Response:
    found = list_tasks(here.project, after=after, limit=AT_ONCE + 1)
    return project_page(
        request,
        here.project,
        "tasks.html",
        title="Tasks",
        counts=count_items(here.project),
        tasks=[told_task(one) for one in found[:AT_ONCE]],
        after=after,
        more=found[AT_ONCE - 1].task.id if len(found) > AT_ONCE else None,
        formats=[{"name": one.name, "title": one.title} for one in FORMATS.values()],
        responder=_responder_named(request, here.project),
    )


def _responder_named(request: Request, found: Project) -> str:
    """The name of the model that people write to; "" for none."""
    terms = settings_of(found).get("responder") or {}
    return str(terms.get("model") or studio_of(request).settings.responder).partition("#")[2]


@router.get("/projects/{project}/gold")
def gold_page(request: Request, here: CanManage, after: Annotated[int, Query(ge=0, le=LARGEST)] = 0) -> Response:
    found = here.project
    gold = [told_task(one) for one in list_tasks(found, gold=True, limit=MOST_GOLD)]
    others = list_tasks(found, gold=False, after=after, limit=AT_ONCE + 1)
    return project_page(
        request,
        found,
        "gold.html",
        title="Gold items",
        gold=gold,
        said={one["id"]: in_words(one["expected"]) for one in gold},
        tasks=[told_task(one) for one in others[:AT_ONCE] if one.task.content.kind != RED_TEAM],
        after=after,
        more=others[AT_ONCE - 1].task.id if len(others) > AT_ONCE else None,
        attributes=attributes_of(settings_of(found)),
    )


def in_words(expected: Mapping[str, Any]) -> str:
    """A verdict that is expected, as its admins read it."""
    if "ranks" in expected:
        return f"ranks {', '.join(str(rank) for rank in expected['ranks'])}"
    if "ratings" in expected:
        return ", ".join(f"{name} {value:g}" for name, value in expected["ratings"].items())
    if "desirable" in expected:
        return "thumb up" if expected["desirable"] else "thumb down"
    if "preference" not in expected:
        return "known answer"
    if expected["preference"] == 0.5:
        return "both bad" if expected.get("both_bad") else "equally good"
    return "answer 1 is better" if expected["preference"] > 0.5 else "answer 2 is better"


@router.get("/projects/{project}/guidelines")
def guidelines_page(request: Request, here: CanManage) -> Response:
    versions = guideline_versions(here.project)
    text = versions[0][2] if versions else ""
    return project_page(request, here.project, "guidelines.html", title="Guidelines", versions=versions, text=text)


@router.get("/projects/{project}/people")
def people_page(request: Request, here: CanManage) -> Response:
    found = here.project
    labels = {one["pseudonym"]: one for one in project_progress(found)["annotators"]}
    with found.database.read() as connection:
        members = [(one, find_person(connection, one.person_id)) for one in members_of(connection, found.id)]
        invites = list_invites(connection, found.id)
    shown = [
        {
            "person": who.id,
            "name": who.name,
            "role": one.role,
            "pseudonym": one.pseudonym,
            "labels": labels.get(one.pseudonym, {}).get("labels", 0),
            "last": labels.get(one.pseudonym, {}).get("last"),
        }
        for one, who in members
        if who is not None
    ]
    return project_page(request, found, "people.html", title="People", members=shown, invites=invites)


@router.get("/projects/{project}/export")
def export_page(request: Request, here: CanSee) -> Response:
    formats = [{"name": name, "title": FORMATS[name].title if name in FORMATS else ""} for name in TARGETS]
    return project_page(
        request,
        here.project,
        "export.html",
        title="Export",
        full=FULL,
        formats=formats,
        facts=facts_of(here.project),
        snapshots=list(reversed(list_snapshots(here.project))),
    )


@router.get("/projects/{project}/settings")
def settings_page(request: Request, here: CanManage) -> Response:
    facts = facts_of(here.project)
    hooks = [
        {"id": one.id, "url": conceal(one.url), "sent": one.sent, "failures": one.failures}
        for one in list_webhooks(here.project.database, here.project)
    ]
    return project_page(
        request,
        here.project,
        "settings.html",
        title="Settings",
        facts=facts,
        attributes=attributes_of(facts.settings),
        webhooks=hooks,
        webhooks_on=studio_of(request).settings.webhooks,
        terms={"model": "", "system": "", **DEFAULTS, **(facts.settings.get("responder") or {})},
        studio_responder=studio_of(request).settings.responder.partition("#")[2],
    )


@router.get("/projects/{project}/audit")
def audit_page(request: Request, here: CanManage, before: Before = None) -> Response:
    with here.project.database.read() as connection:
        found = read_audit(connection, project_id=here.project.id, before=before, limit=AUDIT_AT_ONCE + 1)
        people = people_in(connection, found)
    entries, more = found[:AUDIT_AT_ONCE], len(found) > AUDIT_AT_ONCE
    return project_page(
        request, here.project, "audit.html", title="Audit log", entries=entries, people=people, more=more, before=before
    )


def people_in(connection: Any, entries: list[dict[str, Any]]) -> dict[int, str]:
    """Names of those whom entries of an audit log are about."""
    about = (entry["about"] for entry in entries)
    ids = {one for each in about for name in ("of", "member", "erased") if isinstance(one := each.get(name), int)}
    return {number: who.name for number in ids if (who := find_person(connection, number)) is not None}
