"""Events of a project as rows to show, with pseudonyms; from a cursor on."""

import json
from typing import Any

from sqlalchemy import select

from steersman.store.projects import Project
from steersman.store.schema import annotator, event, project


def list_events(found: Project, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """The events after a number, in order. The next ones are after the last one's."""
    query = (
        select(event, annotator.c.pseudonym)
        .outerjoin(annotator, annotator.c.id == event.c.annotator_id)
        .where(event.c.project_id == found.id, event.c.number > after)
        .order_by(event.c.number)
        .limit(limit)
    )
    with found.database.read() as connection:
        rows = connection.execute(query).all()
    return [
        {
            "number": row.number,
            "kind": row.kind,
            "task": row.item_id,
            "annotator": row.pseudonym or "",
            "refers": row.refers,
            "time": row.recorded,
            "said": json.loads(row.body),
            "erased": row.erased,
        }
        for row in rows
    ]


def head_of(found: Project) -> int:
    """The number of a project's last event."""
    with found.database.read() as connection:
        return connection.execute(select(project.c.head).where(project.c.id == found.id)).scalar_one()
