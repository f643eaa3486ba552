"""Reading a project: rows with all that is known, or records to train on; as it was at a cursor, in batches.

A cursor is the number of an event and the id of an item. What came later is not read, so that a long export and a
snapshot see one state, while others go on labelling.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select

from steersman.data.formats.studio import MARK, VERSION, columns_of, ordered
from steersman.dataclass_rows import plain
from steersman.errors import UsageError
from steersman.records import Record
from steersman.store.content import BESIDE, WHOLE, Content, GivenVerdict, parts_of, record_of
from steersman.store.items import StoredItem, items_with
from steersman.store.projects import Project
from steersman.store.schema import annotator, event, item, project, round_, standing
from steersman.store.standing import judged_at, standing_at

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Cursor:
    """A state of a project: its events up to a number, its items up to an id; of one round, or "" for all."""

    head: int
    last_item: int
    round: str = ""


def count_labels(found: Project, round: str = "") -> int:
    """How many labels count, of one round or of all."""
    query = select(func.count()).select_from(standing.join(item, item.c.id == standing.c.item_id))
    query = query.where(standing.c.project_id == found.id)
    if round:
        query = query.join(round_, round_.c.id == item.c.round_id).where(round_.c.name == round)
    with found.database.read() as connection:
        return connection.execute(query).scalar_one()


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """A label that counts, with its item and its annotator."""

    number: int
    kind: str
    key: str
    name: str
    verdict: Mapping[str, Any]
    annotator: str
    role: str
    item: StoredItem

    @property
    def record(self) -> Record:
        return record_of(self.item.content, GivenVerdict(self.verdict, self.annotator))


def cursor_of(found: Project, round: str = "") -> Cursor:
    """The newest state of a project. A round that does not exist is an error."""
    with found.database.read() as connection:
        head = connection.execute(select(project.c.head).where(project.c.id == found.id)).scalar_one()
        last = connection.execute(select(func.max(item.c.id)).where(item.c.project_id == found.id)).scalar_one()
        names = list(connection.execute(select(round_.c.name).where(round_.c.project_id == found.id)).scalars())
    if round and round not in names:
        raise UsageError(f"{found.name} has no round {round!r}; expected one of {', '.join(names) or '(none yet)'}")
    return Cursor(head, last or 0, round)


def read_labels(found: Project, cursor: Cursor) -> Iterator[StoredLabel]:
    """The labels that counted at a cursor, in the order in which they were given."""
    query = standing_at(found.id, cursor.head).add_columns(annotator.c.pseudonym, annotator.c.role)
    query = query.join(annotator, annotator.c.id == event.c.annotator_id)
    if cursor.round:
        query = query.join(item, item.c.id == event.c.item_id).join(round_, round_.c.id == item.c.round_id)
        query = query.where(round_.c.name == cursor.round)
    after = 0
    while True:
        with found.database.read() as connection:
            rows = connection.execute(query.where(event.c.number > after).limit(PAGE)).all()
            items = items_with(connection, sorted({row.item_id for row in rows}))
        for row in rows:
            yield StoredLabel(
                row.number,
                row.kind,
                row.key,
                row.name,
                json.loads(row.body),
                row.pseudonym,
                row.role,
                items[row.item_id],
            )
        if len(rows) < PAGE:
            return
        after = rows[-1].number


def read_unjudged(found: Project, cursor: Cursor) -> Iterator[StoredItem]:
    """The items without a label that counted at a cursor, in the order in which they came."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.id <= cursor.last_item).order_by(item.c.id)
    if cursor.round:
        query = query.join(round_, round_.c.id == item.c.round_id).where(round_.c.name == cursor.round)
    after = 0
    while True:
        with found.database.read() as connection:
            ids = list(connection.execute(query.where(item.c.id > after).limit(PAGE)).scalars())
            judged = set(connection.execute(judged_at(found.id, cursor.head, ids)).scalars())
            items = items_with(connection, [number for number in ids if number not in judged])
        yield from (items[number] for number in ids if number in items)
        if len(ids) < PAGE:
            return
        after = ids[-1]


def read_records(found: Project, cursor: Cursor) -> Iterator[Record]:
    """What is trained on: unjudged prompts, answers and the like, then judgements.

    A reviewer's decision takes the place of its item's labels. Gold items, whose verdict was known, are left out.
    """
    for one in read_unjudged(found, cursor):
        if one.gold is None:
            yield record_of(one.content, None)
    decided = _adjudicated(found, cursor)
    for label in read_labels(found, cursor):
        if label.item.gold is None and (label.kind == "adjudication" or label.item.id not in decided):
            yield label.record


def _adjudicated(found: Project, cursor: Cursor) -> set[int]:
    query = standing_at(found.id, cursor.head).where(event.c.kind == "adjudication")
    with found.database.read() as connection:
        return {row.item_id for row in connection.execute(query)}


def read_rows(found: Project, cursor: Cursor) -> Iterator[dict[str, Any]]:
    """The full-fidelity rows of a project: items without labels, then labels."""
    for one in read_unjudged(found, cursor):
        yield row_of_item(one)
    for label in read_labels(found, cursor):
        yield row_of_label(label)


def row_of_item(one: StoredItem) -> dict[str, Any]:
    return _row(record_of(one.content, None), one, {})


def row_of_label(label: StoredLabel) -> dict[str, Any]:
    record = label.record
    said: dict[str, Any] = {"key": label.key, "role": label.role if label.annotator else None}
    said["adjudication"] = True if label.kind == "adjudication" else None
    said["name"] = label.name if label.name != getattr(record, "id", "") else None
    if label.item.content.kind == "demonstration":
        said |= {name: label.verdict.get(name) for name in BESIDE}
    return _row(record, label.item, said)


def _row(record: Record, one: StoredItem, said: Mapping[str, Any]) -> dict[str, Any]:
    columns = {**columns_of(record), **{name: value for name, value in said.items() if value is not None}}
    columns |= {MARK: VERSION, "item": one.content.kind, "round": one.round, "reason": one.reason, "gold": one.gold}
    columns |= {"overlap": one.overlap or None, "turn": one.turn or None}
    shown = replace(parts_of(record)[0], kind=one.content.kind)
    if shown != one.content and one.content.kind not in WHOLE:
        columns["asked"] = _plain_content(one.content)
    return ordered(columns)


def _plain_content(content: Content) -> dict[str, Any]:
    rest = {"completions": [plain(each) for each in content.completions], "body": dict(content.body)}
    asked = {} if content.prompt is None else {"prompt": plain(content.prompt)}
    return asked | {name: value for name, value in rest.items() if value}
