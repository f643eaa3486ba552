"""The audit log of the studio: who did what about people, projects and data. Rows are only added.

What is noted names no person and holds no text of theirs: a name stands in `person` alone, and is gone once it was
erased there. Labels are not noted here; they are events.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from steersman.store.content import text_of
from steersman.store.projects import now
from steersman.store.schema import audit, person, project


def note(
    connection: Connection,
    action: str,
    *,
    person_id: int | None = None,
    project_id: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    row = {"time": now(), "person_id": person_id, "project_id": project_id, "action": action}
    connection.execute(insert(audit), {**row, "about": text_of(dict(about or {}))})


def read_audit(
    connection: Connection, *, project_id: int | None = None, before: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """The newest entries, of one project or of all; the next page is `before` the last one's number."""
    query = (
        select(audit, person.c.name.label("person"), project.c.name.label("project"))
        .outerjoin(person, person.c.id == audit.c.person_id)
        .outerjoin(project, project.c.id == audit.c.project_id)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    if project_id is not None:
        query = query.where(audit.c.project_id == project_id)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [
        {
            "number": row.id,
            "time": row.time,
            "person": row.person_id,
            "name": row.person or "",
            "project": row.project,
            "action": row.action,
            "about": json.loads(row.about),
        }
        for row in connection.execute(query)
    ]
