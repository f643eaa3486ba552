"""People who may sign in, and their roles in projects.

A person's name stands here alone. In a project they are an annotator under a random pseudonym, which is what events and
exports show. What a person may do is the role in `member`: an imported file can change an annotator's, never that one.
"""

import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from steersman.errors import UsageError
from steersman.store.database import Database
from steersman.store.projects import ROLES, Project, lock_project, now
from steersman.store.schema import annotator, member, person, project, setting

MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in. `admin`: of the whole studio."""

    id: int
    name: str
    admin: bool
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a project: what they may do, and the pseudonym of what they say."""

    person_id: int
    project: str
    role: str
    pseudonym: str
    annotator_id: int


def checked_name(name: str) -> str:
    """A person's name as it is kept. One that cannot be shown on a line is an error."""
    shown = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(shown) <= MAX_NAME or any(unicodedata.category(one) in ("Cc", "Cs", "Cf", "Co") for one in shown):
        raise UsageError(f"a name has 1 to {MAX_NAME} letters that can be shown; seen {name[:40]!r}")
    return shown


def add_person(connection: Connection, name: str, *, admin: bool = False) -> Person:
    """A new person. A name that is taken is an error."""
    shown = checked_name(name)
    row = {"name": shown, "sign_name": shown.casefold()[:MAX_NAME], "admin": int(admin), "created": now()}
    try:
        with connection.begin_nested():
            key = connection.execute(insert(person).returning(person.c.id), row).scalar_one()
    except IntegrityError as error:
        raise UsageError(f"somebody is called {shown!r} here already; choose another name") from error
    return Person(key, shown, admin)


def find_person(connection: Connection, person_id: int) -> Person | None:
    """The person of an id; None for one who was erased."""
    return _person(
        connection.execute(select(person).where(person.c.id == person_id, person.c.erased.is_(None))).first()
    )


def person_named(connection: Connection, name: str) -> Person | None:
    called = person.c.sign_name == " ".join(unicodedata.normalize("NFC", name).split()).casefold()[:MAX_NAME]
    return _person(connection.execute(select(person).where(called)).first())


def _person(row: Any) -> Person | None:
    return None if row is None else Person(row.id, row.name, bool(row.admin), row.password is not None)


def password_of(connection: Connection, person_id: int) -> str | None:
    """The hash of somebody's password."""
    return connection.execute(select(person.c.password).where(person.c.id == person_id)).scalar_one_or_none()


def set_password(connection: Connection, person_id: int, hashed: str | None) -> None:
    connection.execute(update(person).where(person.c.id == person_id).values(password=hashed))


def set_admin(connection: Connection, person_id: int, admin: bool) -> None:
    connection.execute(update(person).where(person.c.id == person_id).values(admin=int(admin)))


def has_admin(database: Database) -> bool:
    """Whether the studio has an admin who can sign in."""
    with database.read() as connection:
        found = select(func.count()).where(person.c.admin == 1, person.c.erased.is_(None))
        return connection.execute(found).scalar_one() > 0


def list_people(database: Database) -> list[Person]:
    with database.read() as connection:
        rows = connection.execute(select(person).where(person.c.erased.is_(None)).order_by(person.c.id)).all()
    return [found for row in rows if (found := _person(row)) is not None]


def join_project(connection: Connection, found: Project, person_id: int, role: str) -> Member:
    """Make a person a member of a project, or change their role there."""
    if role not in ROLES:
        raise UsageError(f"a role is one of {', '.join(ROLES)}; seen {role[:40]!r}")
    lock_project(connection, found)
    here = (member.c.person_id == person_id, member.c.project_id == found.id)
    number = connection.execute(select(member.c.annotator_id).where(*here)).scalar_one_or_none()
    if number is None:
        row = {"project_id": found.id, "pseudonym": _new_pseudonym(), "role": role, "created": now()}
        number = connection.execute(insert(annotator).returning(annotator.c.id), row).scalar_one()
        new = {"person_id": person_id, "project_id": found.id, "annotator_id": number, "role": role}
        connection.execute(insert(member), new)
    else:
        connection.execute(update(member).where(*here).values(role=role))
        connection.execute(update(annotator).where(annotator.c.id == number).values(role=role))
    known = member_in(connection, found.id, person_id)
    assert known is not None
    return known


def _new_pseudonym() -> str:
    return f"annotator-{secrets.token_hex(4)}"


def leave_project(connection: Connection, found: Project, person_id: int) -> bool:
    """Take a person's rights in a project away. What they said stays, and their pseudonym if they come back."""
    here = (member.c.person_id == person_id, member.c.project_id == found.id)
    return connection.execute(update(member).where(*here).values(role="")).rowcount > 0


def member_in(connection: Connection, project_id: int, person_id: int) -> Member | None:
    query = _members().where(member.c.project_id == project_id, member.c.person_id == person_id)
    row = connection.execute(query).first()
    return None if row is None else Member(*row)


def roles_of(connection: Connection, person_id: int) -> Mapping[str, str]:
    """A person's role by project."""
    query = _members().where(member.c.person_id == person_id, member.c.role != "").order_by(project.c.name)
    return {row.name: row.role for row in connection.execute(query)}


def members_of(connection: Connection, project_id: int) -> list[Member]:
    query = _members().where(member.c.project_id == project_id, member.c.role != "").order_by(member.c.person_id)
    return [Member(*row) for row in connection.execute(query)]


def _members() -> Any:
    return (
        select(member.c.person_id, project.c.name, member.c.role, annotator.c.pseudonym, member.c.annotator_id)
        .join(project, project.c.id == member.c.project_id)
        .join(annotator, annotator.c.id == member.c.annotator_id)
    )


def secret_of(database: Database) -> str:
    """The store's own random key, made when it is first asked for. It signs the tokens of pages' forms."""
    query = select(setting.c.value).where(setting.c.name == "secret")
    with database.read() as connection:
        found = connection.execute(query).scalar_one_or_none()
    if found is not None:
        return found
    with database.write() as connection:
        try:
            with connection.begin_nested():
                connection.execute(insert(setting), {"name": "secret", "value": secrets.token_urlsafe(32)})
        except IntegrityError:
            pass  # another process was first
        return connection.execute(query).scalar_one()
