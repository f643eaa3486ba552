"""Cursors: which state of a project is read, and which part of it."""

from dataclasses import dataclass

from sqlalchemy import func, select

from steersman.errors import UsageError
from steersman.store.projects import Project
from steersman.store.schema import item, project, round_

LABELS = ("", "soft")
"""How labels are read for training: each by itself, or one soft label for each pair and thumb."""
CHOICES = ("", "random", "disagreement", "information")
"""How items were chosen (`steersman studio choose`); "" in a cursor: all of them."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A state of a project: its events up to a number, its items up to an id; of one round, or "" for all."""

    head: int
    last_item: int
    round: str = ""
    labels: str = ""
    choice: str = ""


def cursor_of(found: Project, round: str = "", *, labels: str = "", choice: str = "") -> Cursor:
    """The newest state of a project. A round that does not exist is an error."""
    if labels not in LABELS:
        raise UsageError(f"labels are read as {', '.join(LABELS[1:])}, or each by itself without that; seen {labels!r}")
    if choice not in CHOICES:
        raise UsageError(f"items are chosen by {', '.join(CHOICES[1:])}; seen {choice!r}")
    with found.database.read() as connection:
        head = connection.execute(select(project.c.head).where(project.c.id == found.id)).scalar_one()
        last = connection.execute(select(func.max(item.c.id)).where(item.c.project_id == found.id)).scalar_one()
        names = list(connection.execute(select(round_.c.name).where(round_.c.project_id == found.id)).scalars())
    if round and round not in names:
        raise UsageError(f"{found.name} has no round {round!r}; expected one of {', '.join(names) or '(none yet)'}")
    return Cursor(head, last or 0, round, labels, choice)
