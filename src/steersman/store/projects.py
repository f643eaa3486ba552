"""Projects, their annotators, rounds and guidelines."""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from steersman.errors import UsageError
from steersman.store.content import text_of
from steersman.store.database import Database
from steersman.store.schema import annotator, guideline, item, project, round_, standing

STATES = ("open", "paused", "closed")
ROLES = ("labeller", "reviewer", "admin", "viewer")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Project:
    """A project in an open store: what most functions of the store are given."""

    database: Database
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What a list of projects shows."""

    name: str
    state: str
    licence: str
    created: str
    settings: Mapping[str, Any]
    events: int
    items: int
    labels: int
    annotators: int
    rounds: tuple[str, ...]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def create_project(
    database: Database, name: str, *, guidelines: str = "", licence: str = "", settings: Mapping[str, Any] | None = None
) -> Project:
    """A new project. A name that is taken is an error."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a project's name has up to 64 letters, digits, dots, dashes and underscores, and begins with a letter "
            f"or a digit; seen {name[:80]!r}"
        )
    row = {
        "name": name,
        "state": "open",
        "licence": licence,
        "settings": text_of(dict(settings or {})),
        "created": now(),
        "head": 0,
        "hash": "",
    }
    with database.write() as connection:
        try:
            with connection.begin_nested():
                key = connection.execute(insert(project).returning(project.c.id), row).scalar_one()
        except IntegrityError as error:
            raise UsageError(f"there is a project {name!r} in {database.place.shown} already") from error
        if guidelines:
            _add_guidelines(connection, key, guidelines)
    return Project(database, key, name)


def find_project(database: Database, name: str) -> Project:
    """The project of this name. One that does not exist is an error that names the nearest."""
    with database.read() as connection:
        key = connection.execute(select(project.c.id).where(project.c.name == name)).scalar_one_or_none()
        if key is not None:
            return Project(database, key, name)
        names = list(connection.execute(select(project.c.name).order_by(project.c.name)).scalars())
    near = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"there are {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        if names
        else f"there is none yet; `steersman studio create {name}` makes it"
    )
    raise UsageError(f"there is no project {name!r} in {database.place.shown}; {hint}")


def lock_project(connection: Connection, found: Project) -> Any:
    """The row of a project, locked until the transaction ends: writers of one project take turns, so that events have
    the order of their commits and no number is missing."""
    return connection.execute(select(project).where(project.c.id == found.id).with_for_update()).one()


def set_state(found: Project, state: str) -> None:
    """Open, pause or close a project. Only an open one hands out tasks."""
    if state not in STATES:
        raise UsageError(f"a project is {', '.join(STATES)}; seen {state!r}")
    with found.database.write() as connection:
        connection.execute(update(project).where(project.c.id == found.id).values(state=state))


def set_licence(found: Project, licence: str) -> None:
    with found.database.write() as connection:
        connection.execute(update(project).where(project.c.id == found.id).values(licence=licence))


def set_guidelines(found: Project, text: str) -> int:
    """A new version of the guidelines. Earlier ones are kept. Returns its number."""
    with found.database.write() as connection:
        lock_project(connection, found)
        return _add_guidelines(connection, found.id, text)


def guidelines_of(found: Project) -> str:
    """The newest guidelines; empty if there are none."""
    query = select(guideline.c.text).where(guideline.c.project_id == found.id).order_by(guideline.c.version.desc())
    with found.database.read() as connection:
        return connection.execute(query.limit(1)).scalar_one_or_none() or ""


def guideline_versions(found: Project) -> list[tuple[int, str, str]]:
    """All versions of the guidelines, newest first: number, time and text."""
    query = select(guideline.c.version, guideline.c.created, guideline.c.text).where(guideline.c.project_id == found.id)
    with found.database.read() as connection:
        rows = connection.execute(query.order_by(guideline.c.version.desc())).all()
    return [(row.version, row.created, row.text) for row in rows]


def _add_guidelines(connection: Connection, project_id: int, text: str) -> int:
    query = select(func.coalesce(func.max(guideline.c.version), 0)).where(guideline.c.project_id == project_id)
    version = connection.execute(query).scalar_one() + 1
    connection.execute(
        insert(guideline), {"project_id": project_id, "version": version, "text": text, "created": now()}
    )
    return version


def annotators_named(connection: Connection, project_id: int, names: Collection[str]) -> dict[str, int]:
    """The id of each annotator by pseudonym; new ones are made, as labellers. The project is locked."""
    wanted = set(names)
    for name in wanted:
        if len(name) > 200:
            raise UsageError(f"a pseudonym has at most 200 characters; seen {len(name)}: {name[:40]!r}…")
    query = select(annotator.c.pseudonym, annotator.c.id).where(
        annotator.c.project_id == project_id, annotator.c.pseudonym.in_(wanted)
    )
    found = {row[0]: row[1] for row in connection.execute(query)}
    for name in sorted(wanted - found.keys()):
        row = {"project_id": project_id, "pseudonym": name, "role": "labeller", "created": now()}
        found[name] = connection.execute(insert(annotator).returning(annotator.c.id), row).scalar_one()
    return found


def set_role(found: Project, pseudonym: str, role: str) -> None:
    """An annotator's role; one that is not there is made."""
    if role not in ROLES:
        raise UsageError(f"a role is one of {', '.join(ROLES)}; seen {role!r}")
    with found.database.write() as connection:
        lock_project(connection, found)
        key = annotators_named(connection, found.id, [pseudonym])[pseudonym]
        connection.execute(update(annotator).where(annotator.c.id == key).values(role=role))


def rounds_named(connection: Connection, project_id: int, names: Collection[str]) -> dict[str, int]:
    """The id of each round by name; new ones are made. The project is locked."""
    query = select(round_.c.name, round_.c.id).where(round_.c.project_id == project_id)
    found = {row[0]: row[1] for row in connection.execute(query)}
    for name in sorted(set(names) - found.keys()):
        row = {"project_id": project_id, "name": name, "created": now()}
        found[name] = connection.execute(insert(round_).returning(round_.c.id), row).scalar_one()
    return found


def head_of(found: Project) -> int:
    """The number of a project's last event."""
    with found.database.read() as connection:
        return connection.execute(select(project.c.head).where(project.c.id == found.id)).scalar_one()


def settings_of(found: Project) -> dict[str, Any]:
    with found.database.read() as connection:
        return json.loads(connection.execute(select(project.c.settings).where(project.c.id == found.id)).scalar_one())


def change_settings(found: Project, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Set some of a project's settings. Returns all."""
    with found.database.write() as connection:
        settings = {**json.loads(lock_project(connection, found).settings), **changed}
        connection.execute(update(project).where(project.c.id == found.id).values(settings=text_of(settings)))
    return settings


def list_projects(database: Database) -> list[ProjectFacts]:
    """All projects of a store, by name."""
    with database.read() as connection:
        rows = connection.execute(select(project).order_by(project.c.name)).all()
        return [_facts(connection, row) for row in rows]


def facts_of(found: Project) -> ProjectFacts:
    with found.database.read() as connection:
        return _facts(connection, connection.execute(select(project).where(project.c.id == found.id)).one())


def _facts(connection: Connection, row: Any) -> ProjectFacts:
    def count(table: Any) -> int:
        return connection.execute(select(func.count()).where(table.c.project_id == row.id)).scalar_one()

    rounds = select(round_.c.name).where(round_.c.project_id == row.id).order_by(round_.c.id)
    return ProjectFacts(
        name=row.name,
        state=row.state,
        licence=row.licence,
        created=row.created,
        settings=json.loads(row.settings),
        events=row.head,
        items=count(item),
        labels=count(standing),
        annotators=count(annotator),
        rounds=tuple(connection.execute(rounds).scalars()),
    )
