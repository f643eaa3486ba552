"""Links that are made on the machine of the studio: for the first admin, and for whoever is locked out."""

from steersman.errors import UsageError
from steersman.store.audit import note
from steersman.store.database import Database
from steersman.store.entry import make_invite
from steersman.store.people import has_admin, person_named
from steersman.store.projects import find_project


def first_link(database: Database) -> str:
    """The secret of the link that makes the first admin; "" where there is one. Each start makes a new one."""
    if has_admin(database):
        return ""
    with database.write() as connection:
        note(connection, "first_link")
        return make_invite(connection, "admin", days=1.0, first=True)


def invite_from_machine(
    database: Database, role: str, *, project: str | None, name: str | None, days: float
) -> tuple[str, str]:
    """An invite by whoever runs the studio: to a project, as an admin of the studio, or for somebody known by name.
    Returns its secret, and what it is."""
    with database.write() as connection:
        person = None if name is None else person_named(connection, name)
        if name is not None and person is None:
            raise UsageError(f"nobody is called {name!r} in this studio")
        found = None if project is None else find_project(database, project)
        person_id = None if person is None else person.id
        if found is None and person is None and role != "admin":
            raise UsageError(
                f"a {role} is invited to a project: --project NAME; only an admin is one of the whole studio"
            )
        secret = make_invite(connection, role, found=None if person else found, person_id=person_id, days=days)
        project_id = None if found is None else found.id
        note(connection, "invite_from_machine", project_id=project_id, about={"role": role, "of": person_id})
    if person is not None:
        return secret, f"signs {person.name} in again"
    return secret, f"makes one person an admin of {project or 'the studio'}" if role == "admin" else f"invites a {role}"
