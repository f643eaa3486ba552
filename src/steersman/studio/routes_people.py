"""The API for people: invites, members and their roles, tokens, passwords, one person's data, the audit log."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from steersman.store.audit import note, read_audit
from steersman.store.entry import (
    DAY,
    list_tokens,
    make_invite,
    make_token,
    revoke_token,
    sign_out_everywhere,
)
from steersman.store.erasure import data_of_person, erase_person
from steersman.store.people import (
    find_person,
    join_project,
    leave_project,
    list_people,
    member_in,
    members_of,
    password_of,
    set_admin,
    set_password,
)
from steersman.store.projects import find_project
from steersman.studio.access import CanManage, Door, InStudio, RunsStudio
from steersman.studio.problems import Problem, nothing_here
from steersman.studio.routes_signing_in import MOST_PASSWORD, entered, hashed_password, is_password
from steersman.studio.submissions import LARGEST
from steersman.studio.trained import models_trained_on

router = APIRouter(prefix="/api", tags=["people"])

Role = Literal["labeller", "reviewer", "admin", "viewer"]
PersonId = Annotated[int, Path(ge=1, le=LARGEST)]
Days = Annotated[float, Field(gt=0, le=365)]
Password = Annotated[str, Field(max_length=MOST_PASSWORD)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WantedInvite(Body):
    """An invite to a project, with a role there."""

    role: Role = "labeller"
    days: Days = 7.0


class WantedToken(Body):
    """An API token. Its scope: read, label (and read), or manage (all that its owner may)."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scope: Literal["read", "label", "manage"] = "read"
    project: Annotated[str, Field(max_length=64)] | None = None
    days: Days = 90.0


class NewPassword(Body):
    """A new password, with the one before it, if there is one."""

    new: Password
    old: Password = ""


class NewRole(Body):
    role: Role


class AdminRight(Body):
    admin: bool


def _link(door: Door, request: Request, secret: str, days: float) -> dict[str, Any]:
    return {"url": f"{request.url.scheme}://{request.headers['host']}/join/{secret}", "days": days}


@router.post("/projects/{project}/invites", status_code=201)
def invite(here: CanManage, request: Request, wanted: WantedInvite) -> dict[str, Any]:
    """A link that makes one person a member of the project. It is shown this once."""
    with here.project.database.write() as connection:
        secret = make_invite(connection, wanted.role, found=here.project, made_by=here.person.id, days=wanted.days)
        about = {"role": wanted.role}
        note(connection, "invite", person_id=here.person.id, project_id=here.project.id, about=about)
    return _link(request.state.door, request, secret, wanted.days)


@router.get("/projects/{project}/members")
def members(here: CanManage) -> list[dict[str, Any]]:
    """The members of the project, with their names and pseudonyms."""
    with here.project.database.read() as connection:
        found = members_of(connection, here.project.id)
        names = {one.person_id: find_person(connection, one.person_id) for one in found}
    return [
        {"person": one.person_id, "name": who.name, "role": one.role, "pseudonym": one.pseudonym}
        for one in found
        if (who := names[one.person_id]) is not None
    ]


@router.put("/projects/{project}/members/{person}")
def change_role(here: CanManage, person: PersonId, wanted: NewRole) -> dict[str, Any]:
    """Change a member's role."""
    with here.project.database.write() as connection:
        if (known := member_in(connection, here.project.id, person)) is None:
            raise nothing_here(f"nobody with the number {person} is in this project")
        member = join_project(connection, here.project, known.person_id, wanted.role)
        about = {"member": person, "role": wanted.role}
        note(connection, "change_role", person_id=here.person.id, project_id=here.project.id, about=about)
    return {"person": person, "role": member.role, "pseudonym": member.pseudonym}


@router.delete("/projects/{project}/members/{person}", status_code=204)
def remove_member(here: CanManage, person: PersonId) -> Response:
    """Take somebody's rights in the project away. What they said stays."""
    with here.project.database.write() as connection:
        if not leave_project(connection, here.project, person):
            raise nothing_here(f"nobody with the number {person} is in this project")
        about = {"member": person}
        note(connection, "remove_member", person_id=here.person.id, project_id=here.project.id, about=about)
    return Response(status_code=204)


@router.get("/projects/{project}/audit")
def project_audit(
    here: CanManage,
    before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[dict[str, Any]]:
    """The newest entries of the project's audit log; the next page is `before` the last one's number."""
    with here.project.database.read() as connection:
        return read_audit(connection, project_id=here.project.id, before=before, limit=limit)


@router.get("/audit")
def audit(
    door: RunsStudio,
    before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[dict[str, Any]]:
    """The newest entries of the studio's audit log."""
    with door.studio.database.read() as connection:
        return read_audit(connection, before=before, limit=limit)


@router.post("/invites", status_code=201)
def invite_admin(door: RunsStudio, request: Request) -> dict[str, Any]:
    """A link that makes one person an admin of the studio."""
    assert door.person is not None
    with door.studio.database.write() as connection:
        secret = make_invite(connection, "admin", made_by=door.person.id, days=1.0)
        note(connection, "invite", person_id=door.person.id, about={"role": "admin of the studio"})
    return _link(door, request, secret, 1.0)


@router.get("/people")
def people(door: RunsStudio) -> list[dict[str, Any]]:
    """Everybody who may sign in."""
    return [
        {"person": one.id, "name": one.name, "admin": one.admin, "password": one.has_password}
        for one in list_people(door.studio.database)
    ]


@router.put("/people/{person}/admin")
def change_admin(door: RunsStudio, person: PersonId, wanted: AdminRight) -> dict[str, Any]:
    """Make somebody an admin of the studio, or one no longer. Nobody changes their own right."""
    assert door.person is not None
    if person == door.person.id:
        raise Problem(409, "own_right", "another admin changes your right")
    with door.studio.database.write() as connection:
        if find_person(connection, person) is None:
            raise nothing_here()
        set_admin(connection, person, wanted.admin)
        note(connection, "change_admin", person_id=door.person.id, about={"of": person, "admin": wanted.admin})
    return {"person": person, "admin": wanted.admin}


@router.post("/people/{person}/link", status_code=201)
def way_back(door: RunsStudio, request: Request, person: PersonId) -> dict[str, Any]:
    """A link by which somebody without a password signs in again."""
    assert door.person is not None
    with door.studio.database.write() as connection:
        if find_person(connection, person) is None:
            raise nothing_here()
        secret = make_invite(connection, "viewer", person_id=person, made_by=door.person.id, days=1.0)
        note(connection, "way_back", person_id=door.person.id, about={"of": person})
    return _link(door, request, secret, 1.0)


@router.get("/people/{person}/data")
def data(door: InStudio, person: PersonId) -> JSONResponse:
    """All that is kept of a person: for themselves, and for admins of the studio."""
    own_or_admin(door, person)
    found = data_of_person(door.studio.database, person)
    name = f'attachment; filename="person-{person}.json"'
    return JSONResponse(found, headers={"Content-Disposition": name})


@router.delete("/people/{person}")
def erase(door: InStudio, person: PersonId, labels: bool = False) -> dict[str, Any]:
    """Erase a person: their name, ways in and free text; with `labels`, also what they judged. The reply names the
    snapshots that hold their labels, and the runs that were trained on those."""
    assert door.person is not None
    own_or_admin(door, person)
    done = erase_person(
        door.studio.database, person, labels=labels, by=door.person.id if door.person.id != person else None
    )
    folders = door.studio.settings.runs
    trained = [name for folder in folders for name in models_trained_on(folder, done.snapshots)]
    return {"events": done.events, "labels": done.labels, "snapshots": done.snapshots, "runs": trained}


def own_or_admin(door: Door, person: int) -> None:
    """Refuse everybody but the person themselves and admins of the studio."""
    assert door.person is not None
    with door.studio.database.read() as connection:
        known = find_person(connection, person)
    if known is None or (person != door.person.id and not door.person.admin):
        raise nothing_here()


@router.get("/tokens")
def tokens(door: InStudio) -> list[dict[str, Any]]:
    """One's own API tokens, without their secrets."""
    assert door.person is not None
    with door.studio.database.read() as connection:
        return list_tokens(connection, door.person.id)


@router.post("/tokens", status_code=201)
def new_token(door: InStudio, wanted: WantedToken) -> dict[str, Any]:
    """A new API token. Its secret is shown this once."""
    assert door.person is not None
    database = door.studio.database
    found = None if wanted.project is None else find_project(database, wanted.project)
    with database.write() as connection:
        member = None if found is None else member_in(connection, found.id, door.person.id)
        if found is not None and not door.person.admin and (member is None or not member.role):
            raise nothing_here()
        number, secret = make_token(
            connection, door.person.id, wanted.name, wanted.scope, found=found, days=wanted.days
        )
        about = {"token": number, "scope": wanted.scope}
        note(connection, "new_token", person_id=door.person.id, about=about)
    return {"token": number, "secret": secret, "seconds": wanted.days * DAY}


@router.delete("/tokens/{token}", status_code=204)
def remove_token(door: InStudio, token: Annotated[int, Path(ge=1, le=LARGEST)]) -> Response:
    """Revoke one of one's own tokens."""
    assert door.person is not None
    with door.studio.database.write() as connection:
        if not revoke_token(connection, door.person.id, token):
            raise nothing_here()
        note(connection, "revoke_token", person_id=door.person.id, about={"token": token})
    return Response(status_code=204)


@router.post("/me/password", status_code=204)
def change_password(door: InStudio, wanted: NewPassword) -> Response:
    """Set or change one's own password. Every other session of one's ends, and this one gets a new secret."""
    assert door.person is not None
    door.studio.attempts.require(f"person {door.person.id}")
    with door.studio.database.read() as connection:
        before = password_of(connection, door.person.id)
    if before is not None and not is_password(before, wanted.old):
        raise Problem(403, "password", "the old password is not right")
    hashed = hashed_password(wanted.new)
    with door.studio.database.write() as connection:
        set_password(connection, door.person.id, hashed)
        sign_out_everywhere(connection, door.person.id)
        note(connection, "change_password", person_id=door.person.id)
    response = entered(door, door.person, "/", "password")
    response.status_code = 204
    del response.headers["location"]
    return response


@router.post("/me/sign-out-everywhere", status_code=204)
def leave_everywhere(door: InStudio) -> Response:
    """End all of one's sessions, also this one."""
    assert door.person is not None
    with door.studio.database.write() as connection:
        sign_out_everywhere(connection, door.person.id)
        note(connection, "sign_out_everywhere", person_id=door.person.id)
    return Response(status_code=204)
