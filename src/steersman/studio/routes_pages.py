"""Pages that everybody meets: the first page, with the projects that somebody may work in.

Each page is a small function like these: it has a gate (`access`), and hands a template what it shows.
"""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from steersman.store.people import roles_of
from steersman.store.projects import list_projects
from steersman.studio.access import MAY, InStudio
from steersman.studio.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, door: InStudio) -> HTMLResponse:
    assert door.person is not None
    with door.studio.database.read() as connection:
        roles = dict(roles_of(connection, door.person.id))
    facts = list_projects(door.studio.database)
    projects = [
        {"name": one.name, "title": str(one.settings.get("title") or one.name), "state": one.state, "role": role}
        for one in facts
        if (role := "admin" if door.person.admin else roles.get(one.name, ""))
    ]
    shown = [{**one, "rights": MAY[one["role"]]} for one in projects]
    return page(request, "home.html", title="Projects", projects=shown)
