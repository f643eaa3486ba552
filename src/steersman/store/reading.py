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
from steersman.records import Record
from steersman.store.checks import REPEAT
from steersman.store.content import BESIDE, WHOLE, Content, GivenVerdict, parts_of, record_of
from steersman.store.gold import changed_gold
from steersman.store.items import StoredItem, items_with
from steersman.store.judged import CLASSES, judged_rows
from steersman.store.projects import Project
from steersman.store.reading_cursor import Cursor
from steersman.store.schema import annotator, event, item, round_, standing
from steersman.store.soft import SoftLabel, measure_reliability, soft_record
from steersman.store.standing import judged_at, standing_at

PAGE = 1000


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


def read_labels(found: Project, cursor: Cursor) -> Iterator[StoredLabel]:
    """The labels that counted at a cursor, in the order in which they were given."""
    query = standing_at(found.id, cursor.head).add_columns(annotator.c.pseudonym, annotator.c.role)
    query = query.join(annotator, annotator.c.id == event.c.annotator_id)
    query = query.join(item, item.c.id == event.c.item_id).add_columns(item.c.repeats)
    if cursor.choice:
        query = query.where(item.c.choice == cursor.choice)
    if cursor.round:
        query = query.join(round_, round_.c.id == item.c.round_id).where(round_.c.name == cursor.round)
    after, gold = 0, changed_gold(found, cursor.head)
    while True:
        with found.database.read() as connection:
            rows = connection.execute(query.where(event.c.number > after).limit(PAGE)).all()
            items = items_with(connection, sorted({_asked(row) for row in rows}))
        items = {number: replace(one, gold=gold.get(number, one.gold)) for number, one in items.items()}
        for row in rows:
            yield StoredLabel(
                number=row.number,
                kind=row.kind,
                key=row.key,
                name=row.name if row.repeats is None else REPEAT,
                verdict=json.loads(row.body),
                annotator=row.pseudonym,
                role=row.role,
                item=items[_asked(row)],
            )
        if len(rows) < PAGE:
            return
        after = rows[-1].number


def _asked(row: Any) -> int:
    """The item that a label is about: of a repeat, the one that is repeated."""
    return row.item_id if row.repeats is None else row.repeats


def read_unjudged(found: Project, cursor: Cursor) -> Iterator[StoredItem]:
    """The items without a label that counted at a cursor, in the order in which they came."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.id <= cursor.last_item).order_by(item.c.id)
    query = query.where(item.c.repeats.is_(None))
    if cursor.choice:
        query = query.where(item.c.choice == cursor.choice)
    if cursor.round:
        query = query.join(round_, round_.c.id == item.c.round_id).where(round_.c.name == cursor.round)
    after, gold = 0, changed_gold(found, cursor.head)
    while True:
        with found.database.read() as connection:
            ids = list(connection.execute(query.where(item.c.id > after).limit(PAGE)).scalars())
            judged = set(connection.execute(judged_at(found.id, cursor.head, ids)).scalars())
            items = items_with(connection, [number for number in ids if number not in judged])
        yield from (
            replace(items[number], gold=gold.get(number, items[number].gold)) for number in ids if number in items
        )
        if len(ids) < PAGE:
            return
        after = ids[-1]


def read_records(found: Project, cursor: Cursor) -> Iterator[Record]:
    """What is trained on: unjudged prompts, answers and the like, then judgements.

    A reviewer's decision takes the place of its item's labels. Gold items, whose verdict was known, and repeats are
    left out. With soft labels a pair or a thumb has one judgement, in the place of its first label.
    """
    for one in read_unjudged(found, cursor):
        # A goal of red-teaming is for people: no model is asked about it.
        if one.gold is None and one.content.kind != "red_team":
            yield record_of(one.content, None)
    decided = _adjudicated(found, cursor)
    soft = _soft_labels(found, cursor) if cursor.labels == "soft" else {}
    for label in read_labels(found, cursor):
        if label.item.gold is not None or label.name == REPEAT:
            continue
        if label.item.id in decided:
            if label.kind == "adjudication":
                yield label.record
        elif label.item.content.kind in CLASSES and cursor.labels == "soft":
            if (one := soft.pop(label.item.id, None)) is not None:
                yield soft_record(label.item, one)
        else:
            yield label.record


def _soft_labels(found: Project, cursor: Cursor) -> dict[int, SoftLabel]:
    rows = list(judged_rows(found, cursor))
    return {item: one for kind in CLASSES for item, one in measure_reliability(rows, kind).soft.items()}


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
    columns |= {"purpose": one.purpose, "choice": one.choice}
    shown = replace(parts_of(record)[0], kind=one.content.kind)
    if shown != one.content and one.content.kind not in WHOLE:
        columns["asked"] = _plain_content(one.content)
    return ordered(columns)


def _plain_content(content: Content) -> dict[str, Any]:
    rest = {"completions": [plain(each) for each in content.completions], "body": dict(content.body)}
    asked = {} if content.prompt is None else {"prompt": plain(content.prompt)}
    return asked | {name: value for name, value in rest.items() if value}
