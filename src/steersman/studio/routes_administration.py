"""Pages about people and the whole studio: everybody who may sign in, one person with their ways in, the audit log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from steersman.store.audit import read_audit
from steersman.store.entry import list_sessions, list_tokens
from steersman.store.people import find_person, list_people, roles_of
from steersman.store.projects import list_projects
from steersman.studio.access import Door, InStudio, RunsStudio
from steersman.studio.problems import nothing_here
from steersman.studio.rendering import page
from steersman.studio.routes_running import AUDIT_AT_ONCE, people_in
from steersman.studio.submissions import LARGEST

router = APIRouter(include_in_schema=False)


@router.get("/people")
def everybody_page(request: Request, door: RunsStudio) -> HTMLResponse:
    settings = door.studio.settings
    with door.studio.database.read() as connection:
        shown = [
            {
                "id": one.id,
                "name": one.name,
                "admin": one.admin,
                "password": one.has_password,
                "projects": dict(roles_of(connection, one.id)),
                "sessions": list_sessions(connection, one.id, idle=settings.idle, life=settings.life),
                "tokens": len(list_tokens(connection, one.id)),
            }
            for one in list_people(door.studio.database)
        ]
    return page(request, "everybody.html", title="People", everybody=shown)


@router.get("/people/{person}")
def person_page(request: Request, door: RunsStudio, person: Annotated[int, Path(ge=1, le=LARGEST)]) -> HTMLResponse:
    return _person(request, door, person)


@router.get("/account")
def account_page(request: Request, door: InStudio) -> HTMLResponse:
    assert door.person is not None
    return _person(request, door, door.person.id)


def _person(request: Request, door: Door, number: int) -> HTMLResponse:
    assert door.person is not None
    settings, own = door.studio.settings, number == door.person.id
    with door.studio.database.read() as connection:
        who = find_person(connection, number)
        if who is None:
            raise nothing_here()
        roles = dict(roles_of(connection, number))
        sessions = list_sessions(connection, number, idle=settings.idle, life=settings.life, secret=door.session)
        tokens = list_tokens(connection, number)
    titles = {one.name: str(one.settings.get("title") or one.name) for one in list_projects(door.studio.database)}
    return page(
        request,
        "person.html",
        title="Your account" if own else who.name,
        who=who,
        own=own,
        projects=[{"name": name, "title": titles.get(name, name), "role": role} for name, role in roles.items()],
        sessions=sessions,
        tokens=tokens,
    )


@router.get("/audit")
def studio_audit_page(
    request: Request, door: RunsStudio, before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None
) -> HTMLResponse:
    with door.studio.database.read() as connection:
        found = read_audit(connection, before=before, limit=AUDIT_AT_ONCE + 1)
        people = people_in(connection, found)
    entries, more = found[:AUDIT_AT_ONCE], len(found) > AUDIT_AT_ONCE
    return page(
        request, "studio_audit.html", title="Audit log", entries=entries, people=people, more=more, before=before
    )
