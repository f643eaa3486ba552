"""Unfinished answers, one for each annotator and item. They are no labels: each takes the place of the one before."""

from sqlalchemy import delete, insert, select

from steersman.store.content import text_of
from steersman.store.projects import Project, annotators_named, lock_project, now
from steersman.store.schema import annotator, draft


def save_draft(found: Project, annotator_name: str, key: str, text: str) -> None:
    """Keep an unfinished answer; an empty one is forgotten."""
    text_of(text)  # raises if it is no text
    with found.database.write() as connection:
        lock_project(connection, found)
        who = annotators_named(connection, found.id, [annotator_name])[annotator_name]
        connection.execute(delete(draft).where(draft.c.annotator_id == who, draft.c.key == key))
        if text:
            connection.execute(insert(draft), {"annotator_id": who, "key": key, "text": text, "time": now()})


def draft_of(found: Project, annotator_name: str, key: str) -> str:
    """An annotator's unfinished answer; empty if there is none."""
    query = (
        select(draft.c.text)
        .join(annotator, annotator.c.id == draft.c.annotator_id)
        .where(annotator.c.project_id == found.id, annotator.c.pseudonym == annotator_name, draft.c.key == key)
    )
    with found.database.read() as connection:
        return connection.execute(query).scalar_one_or_none() or ""
