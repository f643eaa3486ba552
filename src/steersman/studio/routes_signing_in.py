"""Signing in and out: by an invite's link, by name and password; and what a client learns of who it is."""

from typing import Annotated, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from steersman.errors import UsageError
from steersman.store.audit import note
from steersman.store.claims import release_claims
from steersman.store.entry import Invitation, accept_invite, find_invite, sign_in_person, sign_out, sign_out_everywhere
from steersman.store.people import Person, member_in, password_of, person_named, roles_of, set_password
from steersman.store.projects import find_project
from steersman.studio.access import AtDoor, Door, InStudio, ReadsStudio, set_cookie
from steersman.studio.problems import Problem
from steersman.studio.rendering import page

router = APIRouter()
HASHER = PasswordHasher()
LEAST_PASSWORD, MOST_PASSWORD = 10, 1000
# Of a random password that nobody knows: verifying it takes as long as a real one.
_NOBODY = HASHER.hash("nobody's password, to take as long as somebody's")


@router.get("/api/me", tags=["people"])
def me(door: ReadsStudio) -> dict[str, Any]:
    """Who asks, their roles by project, and the token that writes of a browser show (header `X-CSRF`)."""
    assert door.person is not None
    with door.studio.database.read() as connection:
        roles = dict(roles_of(connection, door.person.id))
    browser = {"csrf": door.csrf} if not door.scope else {"scope": door.scope}
    return {"person": door.person.id, "name": door.person.name, "admin": door.person.admin, "roles": roles, **browser}


@router.get("/sign-in", include_in_schema=False)
def sign_in_page(request: Request, door: AtDoor, next: str = "/") -> Response:
    if door.person is not None:
        return RedirectResponse(local_path(next), 303)
    return page(request, "sign_in.html", title="Sign in", next=local_path(next), message="")


@router.post("/sign-in", include_in_schema=False)
def sign_in(
    request: Request,
    door: AtDoor,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=MOST_PASSWORD)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    door.studio.attempts.require(f"address {address_of(request)}")
    door.studio.attempts.require(f"name {name.casefold()}")
    with door.studio.database.read() as connection:
        person = person_named(connection, name)
        hashed = None if person is None else password_of(connection, person.id)
    right = is_password(hashed or _NOBODY, password) and hashed is not None and person is not None
    if not right or person is None:
        with door.studio.database.write() as connection:
            note(connection, "sign_in_refused", person_id=None if person is None else person.id)
        message = "name or password are not right. Without a password, ask an admin for a new link"
        return page(request, "sign_in.html", status=403, title="Sign in", next=local_path(next), message=message)
    return entered(door, person, local_path(next), "password")


@router.get("/join/{secret}", include_in_schema=False)
def join_page(request: Request, door: AtDoor, secret: str) -> Response:
    """What an invite's link opens. It is used by the form only: programs that preview links open them too."""
    found = _invite(request, door, secret)
    project = None if found.project is None else found.project.name
    back = found.person_id is not None
    return page(
        request, "join.html", title="Welcome", secret=secret, role=found.role, to=project, back=back, message=""
    )


@router.post("/join/{secret}", include_in_schema=False)
def join(
    request: Request,
    door: AtDoor,
    secret: str,
    name: Annotated[str, Form(max_length=400)] = "",
    password: Annotated[str, Form(max_length=MOST_PASSWORD)] = "",
) -> Response:
    found = _invite(request, door, secret)
    try:
        hashed = hashed_password(password) if password else None
        with door.studio.database.write() as connection:
            person = accept_invite(connection, found, name=name, known=door.person)
            if person is not None:
                if hashed is not None and (door.person is None or found.person_id is not None):
                    # Whoever is signed in changes a password with the old one (`/api/me/password`).
                    set_password(connection, person.id, hashed)
                    sign_out_everywhere(connection, person.id)
                about = {"role": found.role, "again": found.person_id is not None}
                project_id = None if found.project is None else found.project.id
                note(connection, "join", person_id=person.id, project_id=project_id, about=about)
    except UsageError as error:
        project = None if found.project is None else found.project.name
        given = {"secret": secret, "role": found.role, "to": project, "back": found.person_id is not None}
        return page(request, "join.html", status=400, title="Welcome", message=str(error), **given)
    if person is None:
        raise _used()
    return entered(door, person, "/", "link")


@router.post("/sign-out", include_in_schema=False)
def leave(request: Request, door: InStudio) -> Response:
    """End the session, and give back the tasks that are held: another person may use this browser next."""
    assert door.person is not None
    database = door.studio.database
    with database.write() as connection:
        sign_out(connection, door.session)
        note(connection, "sign_out", person_id=door.person.id)
    with database.read() as connection:
        names = list(roles_of(connection, door.person.id))
    for name in names:
        found = find_project(database, name)
        with database.read() as connection:
            member = member_in(connection, found.id, door.person.id)
        if member is not None:
            release_claims(found, member.pseudonym)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(door.studio.cookie, path="/", secure=door.studio.settings.encrypted, httponly=True)
    return response


def entered(door: Door, person: Person, there: str, how: str) -> Response:
    """Sign somebody in under a new session, whatever the browser had before."""
    with door.studio.database.write() as connection:
        secret = sign_in_person(connection, person.id, instead_of=door.session or None)
        note(connection, "sign_in", person_id=person.id, about={"by": how})
    response = RedirectResponse(there, 303)
    set_cookie(door.studio, response, door.studio.cookie, secret, door.studio.settings.life)
    response.delete_cookie(door.studio.visit_cookie, path="/", secure=door.studio.settings.encrypted, httponly=True)
    return response


def hashed_password(password: str) -> str:
    if len(password) < LEAST_PASSWORD:
        raise UsageError(f"a password has {LEAST_PASSWORD} letters or more; seen {len(password)}")
    return HASHER.hash(password)


def is_password(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _invite(request: Request, door: Door, secret: str) -> Invitation:
    door.studio.attempts.require(f"invite {address_of(request)}", 0.2)
    with door.studio.database.read() as connection:
        found = find_invite(door.studio.database, connection, secret)
    if found is None:
        raise _used()
    return found


def _used() -> Problem:
    return Problem(
        404,
        "invite",
        "this link was used already, or its time is over. Sign in, or ask an admin for a new one; on the studio's own "
        "machine, `steersman studio invite --role admin` makes one",
    )


def address_of(request: Request) -> str:
    return request.client.host if request.client is not None else "?"


def local_path(there: str) -> str:
    """Where to go after signing in: an address of this site only."""
    plain = there.isprintable() and there.startswith("/") and not there.startswith(("//", "/\\"))
    return there if plain and there.isascii() and "\\" not in there else "/"
