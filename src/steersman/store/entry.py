"""Ways in: invites, sign-ins (sessions of a browser) and API tokens. Of each secret only a hash is kept."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from steersman.errors import UsageError
from steersman.store.database import Database
from steersman.store.people import Person, add_person, find_person, join_project, set_admin
from steersman.store.projects import ROLES, Project, now
from steersman.store.schema import invite, person, project, sign_in, token

SCOPES = ("read", "label", "manage")
"""What a token may be used for, each with all before it."""
DAY = 86400.0
# A request a minute or less is written down: a write for each would double the load.
_SEEN_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invite that can be used. `person_id`: a way back for somebody who is known."""

    id: int
    project: Project | None
    role: str
    person_id: int | None


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token that was presented: whose it is, and what it may be used for."""

    id: int
    person: Person
    scope: str
    project_id: int | None


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    # Of a random secret of 256 bits a plain hash is enough; passwords are hashed slowly elsewhere.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def make_invite(
    connection: Connection,
    role: str,
    *,
    found: Project | None = None,
    person_id: int | None = None,
    made_by: int | None = None,
    days: float = 7.0,
    first: bool = False,
) -> str:
    """A link's secret, which can be used once. Without a project the role is that of an admin of the studio. `first`:
    it takes the place of earlier first ones."""
    if role not in ROLES or (found is None and person_id is None and role != "admin"):
        raise UsageError(f"an invite is to a project, or as an admin of the studio; seen role {role[:40]!r}")
    if not 0 < days <= 365:
        raise UsageError(f"an invite is valid for 1 to 365 days; seen {days:g}")
    if first:
        connection.execute(delete(invite).where(invite.c.first == 1, invite.c.used.is_(None)))
    secret = new_secret()
    row = {"token": hash_of(secret), "project_id": None if found is None else found.id, "role": role}
    row |= {"person_id": person_id, "made_by": made_by, "created": now(), "until": time.time() + days * DAY}
    connection.execute(insert(invite), {**row, "first": int(first)})
    return secret


def find_invite(database: Database, connection: Connection, secret: str) -> Invitation | None:
    """The invite of a link; None if there is none, it was used, or its time is over."""
    query = (
        select(invite, project.c.name)
        .outerjoin(project, project.c.id == invite.c.project_id)
        .where(invite.c.token == hash_of(secret), invite.c.used.is_(None), invite.c.until > time.time())
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    found = None if row.project_id is None else Project(database, row.project_id, row.name)
    return Invitation(row.id, found, row.role, row.person_id)


def accept_invite(connection: Connection, found: Invitation, *, name: str, known: Person | None) -> Person | None:
    """Use an invite: for somebody who is signed in (`known`), else for a new person of this name, or for whom it was
    made. None: somebody else has used it in the meantime."""
    used = update(invite).where(invite.c.id == found.id, invite.c.used.is_(None)).values(used=now())
    if not connection.execute(used).rowcount:
        return None
    if found.person_id is not None:
        return find_person(connection, found.person_id)
    who = known or add_person(connection, name)
    if found.project is None:
        set_admin(connection, who.id, True)
    else:
        join_project(connection, found.project, who.id, found.role)
    return find_person(connection, who.id)


def sign_in_person(connection: Connection, person_id: int, *, instead_of: str | None = None) -> str:
    """A new session of a browser, whose secret is returned. The one before it (`instead_of`) ends."""
    moment, secret = time.time(), new_secret()
    if instead_of:
        sign_out(connection, instead_of)
    row = {"person_id": person_id, "token": hash_of(secret), "created": moment, "seen": moment}
    connection.execute(insert(sign_in), row)
    return secret


def sign_out(connection: Connection, secret: str) -> int | None:
    """End a session. Returns whose it was."""
    who = connection.execute(select(sign_in.c.person_id).where(sign_in.c.token == hash_of(secret))).scalar_one_or_none()
    connection.execute(delete(sign_in).where(sign_in.c.token == hash_of(secret)))
    return who


def sign_out_everywhere(connection: Connection, person_id: int) -> int:
    return connection.execute(delete(sign_in).where(sign_in.c.person_id == person_id)).rowcount


def signed_in(database: Database, secret: str, *, idle: float, life: float) -> Person | None:
    """Whose session this is. It ends `idle` seconds after its last request, and `life` seconds after it began."""
    moment = time.time()
    query = (
        select(sign_in.c.id, sign_in.c.seen, person)
        .join(person, person.c.id == sign_in.c.person_id)
        .where(sign_in.c.token == hash_of(secret), sign_in.c.seen > moment - idle, sign_in.c.created > moment - life)
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None or row.erased is not None:
        return None
    if moment - row.seen > min(_SEEN_EVERY, idle / 4):
        with database.write() as connection:
            connection.execute(update(sign_in).where(sign_in.c.id == row[0]).values(seen=moment))
    return Person(row[2], row.name, bool(row.admin), row.password is not None)


def forget_old(connection: Connection, *, idle: float, life: float) -> None:
    """Delete sessions, invites and tokens whose time is over."""
    moment = time.time()
    connection.execute(delete(sign_in).where(or_(sign_in.c.seen < moment - idle, sign_in.c.created < moment - life)))
    connection.execute(delete(invite).where(invite.c.until < moment - 30 * DAY))
    connection.execute(delete(token).where(token.c.until < moment - 30 * DAY))


def make_token(
    connection: Connection, person_id: int, name: str, scope: str, *, found: Project | None = None, days: float = 90.0
) -> tuple[int, str]:
    """A new API token: its number and its secret, which is shown this once."""
    if scope not in SCOPES:
        raise UsageError(f"a token's scope is one of {', '.join(SCOPES)}; seen {scope[:40]!r}")
    if not 0 < days <= 365:
        raise UsageError(f"a token is valid for 1 to 365 days; seen {days:g}")
    if not 1 <= len(name) <= 100:
        raise UsageError(f"a token's name has 1 to 100 letters; seen {len(name)}")
    secret = f"steersman_{new_secret()}"
    row: dict[str, Any] = {"person_id": person_id, "project_id": None if found is None else found.id, "name": name}
    row |= {"token": hash_of(secret), "scope": scope, "created": now(), "until": time.time() + days * DAY}
    return connection.execute(insert(token).returning(token.c.id), row).scalar_one(), secret


def find_token(database: Database, secret: str) -> FoundToken | None:
    query = (
        select(token.c.id.label("token_id"), token.c.scope, token.c.project_id, token.c.used, person)
        .join(person, person.c.id == token.c.person_id)
        .where(and_(token.c.token == hash_of(secret), token.c.until > time.time(), person.c.erased.is_(None)))
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    today = now()[:10]
    if (row.used or "")[:10] != today:
        with database.write() as connection:
            connection.execute(update(token).where(token.c.id == row.token_id).values(used=now()))
    return FoundToken(row.token_id, Person(row.id, row.name, bool(row.admin)), row.scope, row.project_id)


def list_tokens(connection: Connection, person_id: int) -> list[dict[str, Any]]:
    query = (
        select(token.c.id, token.c.name, token.c.scope, project.c.name.label("project"), token.c.created, token.c.until)
        .add_columns(token.c.used)
        .outerjoin(project, project.c.id == token.c.project_id)
        .where(token.c.person_id == person_id)
        .order_by(token.c.id)
    )
    return [{**row._asdict(), "until": when(row.until)} for row in connection.execute(query)]


def revoke_token(connection: Connection, person_id: int, token_id: int) -> bool:
    mine = (token.c.id == token_id, token.c.person_id == person_id)
    return connection.execute(delete(token).where(*mine)).rowcount > 0


def count_invites(connection: Connection, project_id: int) -> int:
    """Invites to a project that can still be used."""
    open_ones = (invite.c.project_id == project_id, invite.c.used.is_(None), invite.c.until > time.time())
    return connection.execute(select(func.count()).where(*open_ones)).scalar_one()


def list_invites(connection: Connection, project_id: int) -> list[dict[str, Any]]:
    """Invites to a project that can still be used, without their secrets; newest first."""
    query = (
        select(invite.c.id, invite.c.role, person.c.name.label("made_by"), invite.c.created, invite.c.until)
        .outerjoin(person, person.c.id == invite.c.made_by)
        .where(invite.c.project_id == project_id, invite.c.used.is_(None), invite.c.until > time.time())
        .order_by(invite.c.id.desc())
    )
    return [
        {**row._asdict(), "made_by": row.made_by or "", "until": when(row.until)} for row in connection.execute(query)
    ]


def revoke_invite(connection: Connection, project_id: int, invite_id: int) -> bool:
    """Delete an invite that was not used yet."""
    which = (invite.c.id == invite_id, invite.c.project_id == project_id, invite.c.used.is_(None))
    return connection.execute(delete(invite).where(*which)).rowcount > 0


def list_sessions(
    connection: Connection, person_id: int, *, idle: float, life: float, secret: str = ""
) -> list[dict[str, Any]]:
    """A person's sessions that still hold, newest first. `here`: the one with this secret."""
    moment, here = time.time(), hash_of(secret) if secret else ""
    holds = (sign_in.c.seen > moment - idle, sign_in.c.created > moment - life)
    query = select(sign_in).where(sign_in.c.person_id == person_id, *holds).order_by(sign_in.c.id.desc())
    return [
        {"session": row.id, "began": when(row.created), "seen": when(row.seen), "here": row.token == here}
        for row in connection.execute(query)
    ]


def end_session(connection: Connection, person_id: int, session_id: int) -> bool:
    which = (sign_in.c.id == session_id, sign_in.c.person_id == person_id)
    return connection.execute(delete(sign_in).where(*which)).rowcount > 0


def when(moment: float) -> str:
    """A moment in seconds since 1970 as text, like the other times of the store."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
