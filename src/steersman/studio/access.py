"""Who asks, and what they may do: every route has one of the gates below, or the app does not start.

A browser is known by its session's cookie, a program by its token (`Authorization: Bearer`). What a role may do in a
project is the table MAY; a project that somebody is no member of looks to them as if it did not exist.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import Response
from itsdangerous import Signer

from steersman.errors import UsageError
from steersman.store.database import Database
from steersman.store.entry import find_token, new_secret, signed_in
from steersman.store.people import Member, Person, join_project, member_in, roles_of
from steersman.store.projects import Project, find_project
from steersman.studio.limits import RateLimit
from steersman.studio.observatory.folders import RunFolders
from steersman.studio.observatory.people import JudgedModels
from steersman.studio.problems import Problem, not_signed_in, nothing_here
from steersman.studio.settings import StudioSettings

MAY: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({"open", "see"}),
    "labeller": frozenset({"open", "label"}),
    "reviewer": frozenset({"open", "label", "see", "review"}),
    "admin": frozenset({"open", "label", "see", "review", "manage"}),
}
"""What each role may do in a project: open it (title, guidelines), label, see (progress, export), review, manage."""
SCOPE_MAY: Mapping[str, frozenset[str]] = {
    "read": frozenset({"open", "see"}),
    "label": frozenset({"open", "see", "label"}),
    "manage": MAY["admin"],
}
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(slots=True)
class Studio:
    """What all requests share."""

    database: Database
    settings: StudioSettings
    secret: str
    requests: RateLimit
    attempts: RateLimit
    runs: RunFolders
    judged: JudgedModels = field(default_factory=JudgedModels)

    @property
    def cookie(self) -> str:
        # By store: two studios on one machine (cookies do not tell ports apart) do not sign each other's people out.
        name = f"steersman_{self._sign('cookie', 'name')[:8]}"
        return f"__Host-{name}" if self.settings.encrypted else name

    @property
    def visit_cookie(self) -> str:
        return f"{self.cookie}_visit"

    def csrf_of(self, visit: str) -> str:
        return self._sign("csrf", visit)

    def _sign(self, what: str, value: str) -> str:
        return Signer(self.secret, salt=f"steersman.{what}").get_signature(value).decode()


@dataclass(slots=True)
class Door:
    """A request's visitor. `visit` is the secret of their session, or of a browser that is not signed in yet."""

    studio: Studio
    person: Person | None = None
    session: str = ""
    visit: str = ""
    new_visit: bool = False
    scope: str = ""  # of a token; "" for a browser
    only_project: int | None = None
    rights: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def csrf(self) -> str:
        return self.studio.csrf_of(self.visit)

    @property
    def sees_runs(self) -> bool:
        """Whether they may see the runs (`OfRuns`)."""
        if self.person is None:
            return False
        with self.studio.database.read() as connection:
            roles = dict(roles_of(connection, self.person.id))
        return self.person.admin or any("see" in MAY[role] for role in roles.values())

    def keep_visit(self, response: Response) -> None:
        """Give a browser that is not signed in the cookie that its forms are checked by."""
        if self.new_visit and not self.session:
            set_cookie(self.studio, response, self.studio.visit_cookie, self.visit, None)


@dataclass(frozen=True, slots=True)
class Here:
    """Somebody in a project, where they may do what the route asks for."""

    person: Person
    project: Project
    role: str
    rights: frozenset[str]
    member: Member | None

    def as_member(self) -> Member:
        """The person as an annotator; an admin of the studio becomes one of the project when they first act in it."""
        if self.member is not None:
            return self.member
        with self.project.database.write() as connection:
            return join_project(connection, self.project, self.person.id, "admin")


def studio_of(request: Request) -> Studio:
    return request.app.state.studio


def set_cookie(studio: Studio, response: Response, name: str, value: str, life: float | None) -> None:
    response.set_cookie(
        name,
        value,
        max_age=None if life is None else int(life),
        httponly=True,
        samesite="lax",
        secure=studio.settings.encrypted,
        path="/",
    )


def bearer_of(request: Request) -> str:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def open_door(request: Request) -> Door:
    """Find out who asks, once for each request."""
    studio = studio_of(request)
    door = Door(studio)
    if secret := bearer_of(request):
        found = find_token(studio.database, secret)
        if found is not None:
            door.person, door.scope, door.only_project = found.person, found.scope, found.project_id
    elif "authorization" not in request.headers:
        settings, session = studio.settings, request.cookies.get(studio.cookie, "")
        if session:
            door.person = signed_in(studio.database, session, idle=settings.idle, life=settings.life)
        door.session = session if door.person is not None else ""
    door.visit = door.session or request.cookies.get(studio.visit_cookie, "")
    if not door.visit:
        door.visit, door.new_visit = new_secret(), True
    request.state.door = door
    return door


async def refuse_forgery(request: Request, door: Annotated[Door, Depends(open_door)]) -> None:
    """Every write from a browser shows the token of a page of ours, and comes from one. It holds for all routes."""
    if request.method in SAFE or bearer_of(request):
        return
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host', '')}":
        raise Problem(403, "origin", "this request comes from another site, and was refused")
    if origin is None and site not in (None, "same-origin", "none"):
        raise Problem(403, "origin", "this request comes from another site, and was refused")
    sent = request.headers.get("x-csrf", "")
    if not sent and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        sent = str((await request.form()).get("csrf", ""))
    if door.new_visit or not hmac.compare_digest(sent.encode(), door.csrf.encode()):
        raise Problem(403, "csrf", "the page is too old, or another one signed in since; reload it and try again")


class Gate:
    """What a route asks for. Each route has exactly one; `app` checks it."""


class Anybody(Gate):
    """Anybody may: signing in, and what a page needs for that."""

    def __call__(self, door: Annotated[Door, Depends(open_door)]) -> Door:
        return door


class SignedIn(Gate):
    """Somebody who is signed in; with `admin`, an admin of the studio; with `scope`, by a token of that scope too."""

    def __init__(self, *, admin: bool = False, scope: str = "") -> None:
        self.admin, self.scope = admin, scope

    def __call__(self, door: Annotated[Door, Depends(open_door)]) -> Door:
        person = _person(door)
        if door.scope and (not self.scope or door.only_project or not SCOPE_MAY[self.scope] <= SCOPE_MAY[door.scope]):
            raise Problem(403, "scope", "this token may not do that; its owner can, in a browser")
        if self.admin and not person.admin:
            raise Problem(403, "role", "only an admin of the studio may do that")
        return door


class OfRuns(Gate):
    """Somebody who may see the runs: an admin of the studio, or whoever may see what others said in a project.
    Labellers may not: the runs show models' answers with their scores, and labellers judge blind."""

    def __call__(self, door: Annotated[Door, Depends(open_door)]) -> Door:
        _person(door)
        if door.scope and (door.only_project or "see" not in SCOPE_MAY[door.scope]):
            raise Problem(403, "scope", _SCOPED)
        if not door.sees_runs:
            raise Problem(403, "role", "runs are shown to viewers, reviewers and admins of a project")
        return door


class In(Gate):
    """Somebody who may do something in the project that the address names."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, request: Request, door: Annotated[Door, Depends(open_door)]) -> Here:
        person = _person(door)
        try:
            found = find_project(door.studio.database, request.path_params["project"])
        except UsageError:
            raise nothing_here() from None
        with door.studio.database.read() as connection:
            member = member_in(connection, found.id, person.id)
        role = "admin" if person.admin else member.role if member is not None else ""
        if not role or door.only_project not in (None, found.id):
            raise nothing_here()
        rights = MAY[role] & SCOPE_MAY[door.scope] if door.scope else MAY[role]
        if self.what not in rights:
            raise Problem(403, "role", f"a {role} may not do that here" if self.what not in MAY[role] else _SCOPED)
        door.rights = rights
        return Here(person, found, role, rights, member)


_SCOPED = "this token may not do that; make one of another scope"


def _person(door: Door) -> Person:
    if door.person is None:
        raise not_signed_in()
    door.studio.requests.require(f"person {door.person.id}")
    return door.person


CanOpen = Annotated[Here, Depends(In("open"))]
CanLabel = Annotated[Here, Depends(In("label"))]
CanSee = Annotated[Here, Depends(In("see"))]
CanReview = Annotated[Here, Depends(In("review"))]
CanManage = Annotated[Here, Depends(In("manage"))]
AtDoor = Annotated[Door, Depends(Anybody())]
InStudio = Annotated[Door, Depends(SignedIn())]
ReadsStudio = Annotated[Door, Depends(SignedIn(scope="read"))]
SeesRuns = Annotated[Door, Depends(OfRuns())]
RunsStudio = Annotated[Door, Depends(SignedIn(admin=True, scope="manage"))]


def gates_of(route: Any) -> list[Gate]:
    """The gates of a route: of a route that may be used there is exactly one."""
    return [one.call for one in route.dependant.dependencies if isinstance(one.call, Gate)]
