"""Addresses that are told of a project's events. Which events each was told of stands here; `studio` sends them."""

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from steersman.errors import UsageError
from steersman.store.database import Database
from steersman.store.projects import Project, now
from steersman.store.schema import project, webhook


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address, and the number of the last event that it was told of. `failures`: since the last success."""

    id: int
    project: Project
    url: str
    secret: str
    sent: int
    failures: int


def add_webhook(connection: Connection, found: Project, url: str) -> Webhook:
    """An address to tell of the events from now on. Its messages are signed with a new secret."""
    head = connection.execute(select(project.c.head).where(project.c.id == found.id)).scalar_one()
    row = {"project_id": found.id, "url": url, "secret": secrets.token_urlsafe(32), "sent": head, "failures": 0}
    try:
        with connection.begin_nested():
            query = insert(webhook).returning(webhook.c.id)
            number = connection.execute(query, {**row, "created": now()}).scalar_one()
    except IntegrityError as error:
        raise UsageError("this address is told already; remove it first for a new secret") from error
    return Webhook(number, found, url, row["secret"], head, 0)


def list_webhooks(database: Database, found: Project | None = None) -> list[Webhook]:
    query = select(webhook, project.c.name).join(project, project.c.id == webhook.c.project_id).order_by(webhook.c.id)
    if found is not None:
        query = query.where(webhook.c.project_id == found.id)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        Webhook(row.id, Project(database, row.project_id, row.name), row.url, row.secret, row.sent, row.failures)
        for row in rows
    ]


def note_sent(database: Database, number: int, sent: int) -> None:
    with database.write() as connection:
        connection.execute(update(webhook).where(webhook.c.id == number).values(sent=sent, failures=0))


def note_failure(database: Database, number: int) -> None:
    with database.write() as connection:
        values = {"failures": webhook.c.failures + 1}
        connection.execute(update(webhook).where(webhook.c.id == number).values(values))


def remove_webhook(connection: Connection, found: Project, number: int) -> bool:
    which = (webhook.c.id == number, webhook.c.project_id == found.id)
    return connection.execute(delete(webhook).where(*which)).rowcount > 0
