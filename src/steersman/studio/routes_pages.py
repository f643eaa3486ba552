"""Pages that everybody meets: the first page, with the projects that somebody may work in.

Each page is a small function like these: it has a gate (`access`), and hands a template what it shows.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from steersman.store.database import Database
from steersman.store.people import Person, member_in, roles_of
from steersman.store.progress import own_progress
from steersman.store.projects import ProjectFacts, find_project, list_projects
from steersman.studio.access import MAY, AtDoor, InStudio
from steersman.studio.problems import nothing_here
from steersman.studio.rendering import PARTS, page
from steersman.studio.tasks import KINDS

router = APIRouter(include_in_schema=False)
SHARED = {"tokens.css": "text/css", "parts.css": "text/css", "microscope.js": "text/javascript"}
"""Files of reports that the studio's pages have too: colours, and the parts' style and script."""


@router.get("/static/shared/{name}")
def shared_file(_: AtDoor, name: str) -> FileResponse:
    if name not in SHARED:
        raise nothing_here()
    return FileResponse(PARTS / name, media_type=SHARED[name])


@router.get("/")
def home(request: Request, door: InStudio) -> HTMLResponse:
    assert door.person is not None
    database, person = door.studio.database, door.person
    with database.read() as connection:
        roles = dict(roles_of(connection, person.id))
    projects = [
        _shown(database, person, one, role)
        for one in list_projects(database)
        if (role := "admin" if person.admin else roles.get(one.name, ""))
    ]
    return page(request, "home.html", title="Projects", projects=projects)


def _shown(database: Database, person: Person, facts: ProjectFacts, role: str) -> dict[str, Any]:
    """A project as the first page shows it, with what the person has done there and can still do."""
    found = find_project(database, facts.name)
    with database.read() as connection:
        member = member_in(connection, found.id, person.id)
        # An admin of the studio is no member of a project before they first act in it: nobody's tasks are theirs yet.
        own = own_progress(connection, found.id, member.annotator_id if member else 0, KINDS)
    title = str(facts.settings.get("title") or facts.name)
    shown = {"name": facts.name, "title": title, "state": facts.state, "role": role, "rights": MAY[role]}
    return {**shown, "done": own.done, "left": own.left}
