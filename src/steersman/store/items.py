"""Items: what is asked, with its prompt and completions. The same content is kept once, under a hash of it."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, func, insert, select

from steersman.dataclass_rows import plain
from steersman.errors import UsageError
from steersman.store.content import TASKS, Content, completion_in, key_of, prompt_in, refuse_content, text_of
from steersman.store.database import BATCH
from steersman.store.projects import Project, lock_project, now, rounds_named
from steersman.store.schema import completion, item, item_completion, prompt, round_

T = TypeVar("T")

PURPOSES = ("", "gold", "practice")
"""What an item is for: an ordinary task; a known answer, mixed into everybody's tasks; practice, with feedback."""
FOR_EVERYBODY = 1000
"""The overlap of a gold item."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to add. `overlap` labels of it are wanted from different people; 0: it is not handed out.

    `turn` orders the tasks (the smallest first), `reason` says why it is asked, `gold` is the verdict that is expected.
    `choice` says how it was chosen among others: "random" for a part that is kept to measure, or by which figure.
    """

    content: Content
    round: str = ""
    overlap: int = 0
    turn: float = 0.0
    reason: str = ""
    gold: Mapping[str, Any] | None = None
    purpose: str = ""
    choice: str = ""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it is in the store."""

    id: int
    key: str
    content: Content
    round: str
    overlap: int
    free: int
    turn: float
    reason: str
    gold: Mapping[str, Any] | None
    purpose: str = ""
    choice: str = ""
    repeats: int | None = None
    only_for: int | None = None


def add_items(found: Project, items: Iterable[NewItem]) -> int:
    """Add items, in batches that are each saved when the next one begins. Those that are there are kept as they are.
    Returns how many are new."""
    added = 0
    for batch in batches(items):
        with found.database.write() as connection:
            lock_project(connection, found)
            before = _count(connection, found)
            put_items(connection, found, batch)
            added += _count(connection, found) - before
    return added


def batches(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """What comes, in tuples of at most BATCH."""
    stream = iter(items)
    while batch := tuple(itertools.islice(stream, BATCH)):
        yield batch


def put_items(connection: Connection, found: Project, items: Sequence[NewItem]) -> list[int]:
    """The ids of items, which are added where they are new. The project is locked."""
    for new in items:
        refuse_content(new.content)
        if not 0 <= new.overlap <= 1000:
            raise UsageError(f"overlap is how many people judge a task, 0 to 1000; seen {new.overlap}")
        if new.purpose not in PURPOSES or (new.purpose and new.gold is None):
            raise UsageError(
                f"an item for {new.purpose!r} needs the verdict that is expected; purposes: gold, practice"
            )
        if new.overlap and new.content.kind not in TASKS:
            raise UsageError(f"a {new.content.kind} is not judged; tasks are {', '.join(TASKS)}")
    rounds = rounds_named(connection, found.id, {new.round for new in items if new.round})
    prompts = _put_prompts(connection, found, items)
    completions = _put_completions(connection, items, prompts)
    keys = [item_key(new) for new in items]
    rows, wanted = [], dict(zip(keys, items, strict=True))
    known = _known(connection, item, item.c.project_id == found.id, keys)
    created = now()
    for key, new in wanted.items():
        if key not in known:
            row = {"project_id": found.id, "key": key, "kind": new.content.kind, "created": created}
            row |= {"prompt_id": prompts.get(_prompt_key(new.content)), "round_id": rounds.get(new.round)}
            row |= {"body": text_of(dict(new.content.body)), "reason": new.reason, "turn": new.turn}
            row |= {"gold": None if new.gold is None else text_of(dict(new.gold))}
            row |= {"purpose": new.purpose, "choice": new.choice}
            rows.append({**row, "overlap": new.overlap, "free": new.overlap})
    fresh = _inserted(connection, item, rows)
    places = [
        {"item_id": key_id, "place": place, "completion_id": completions[_prompt_key(content), completion_key(one)]}
        for key, key_id in fresh.items()
        for content in (wanted[key].content,)
        for place, one in enumerate(content.completions)
    ]
    if places:
        connection.execute(insert(item_completion), places)
    known |= fresh
    return [known[key] for key in keys]


def item_key(new: NewItem) -> str:
    """A hash of what is asked, in which round: the same pair may be asked again in another one."""
    content = new.content
    answers = [completion_key(one) for one in content.completions]
    return key_of(content.kind, _prompt_key(content), answers, dict(content.body), new.round)


def completion_key(one: Any) -> str:
    return key_of(plain(one))


def _prompt_key(content: Content) -> str:
    return "" if content.prompt is None else key_of(plain(content.prompt))


def _put_prompts(connection: Connection, found: Project, items: Sequence[NewItem]) -> dict[str, int]:
    wanted = {_prompt_key(new.content): new.content.prompt for new in items if new.content.prompt is not None}
    known = _known(connection, prompt, prompt.c.project_id == found.id, list(wanted))
    rows = [
        {"project_id": found.id, "key": key, "body": text_of(plain(one))}
        for key, one in wanted.items()
        if key not in known
    ]
    return known | _inserted(connection, prompt, rows)


def _put_completions(
    connection: Connection, items: Sequence[NewItem], prompts: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    wanted = {
        (prompts[_prompt_key(new.content)], completion_key(one)): one
        for new in items
        for one in new.content.completions
    }
    name_of = {number: key for key, number in prompts.items()}
    known: dict[tuple[int, str], int] = {}
    for keys in _chunks(sorted({key for _, key in wanted})):
        query = select(completion.c.prompt_id, completion.c.key, completion.c.id).where(completion.c.key.in_(keys))
        query = query.where(completion.c.prompt_id.in_(sorted({number for number, _ in wanted})))
        known |= {(row.prompt_id, row.key): row.id for row in connection.execute(query)}
    rows = []
    for (number, key), one in wanted.items():
        if (number, key) not in known:
            row = {"prompt_id": number, "key": key, "policy": one.model, "seed": one.seed}
            row |= {"weights": str(one.sampling.get("weights", "")), "sampling": text_of(dict(one.sampling))}
            rows.append({**row, "body": text_of(plain(one))})
    if rows:
        query = insert(completion).returning(completion.c.prompt_id, completion.c.key, completion.c.id)
        known |= {(row.prompt_id, row.key): row.id for row in connection.execute(query, rows)}
    return {(name_of[number], key): value for (number, key), value in known.items()}


def _known(connection: Connection, table: Table, scope: ColumnElement[bool], keys: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in _chunks(keys):
        query = select(table.c.key, table.c.id).where(and_(scope, table.c.key.in_(chunk)))
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found


def _inserted(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    if not rows:
        return {}
    # Ids in the order of the rows: exports keep the order in which items came.
    query = insert(table).returning(table.c.key, table.c.id, sort_by_parameter_order=True)
    return {row[0]: row[1] for row in connection.execute(query, list(rows))}


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


def _count(connection: Connection, found: Project) -> int:
    return connection.execute(select(func.count()).where(item.c.project_id == found.id)).scalar_one()


def items_with(connection: Connection, ids: Sequence[int]) -> dict[int, StoredItem]:
    """Items by id, each with its prompt and completions."""
    query = (
        select(item, prompt.c.body.label("prompt_body"), round_.c.name.label("round_name"))
        .outerjoin(prompt, prompt.c.id == item.c.prompt_id)
        .outerjoin(round_, round_.c.id == item.c.round_id)
        .where(item.c.id.in_(ids))
    )
    answers: dict[int, list[str]] = {}
    of_items = (
        select(item_completion.c.item_id, completion.c.body)
        .join(completion, completion.c.id == item_completion.c.completion_id)
        .where(item_completion.c.item_id.in_(ids))
        .order_by(item_completion.c.item_id, item_completion.c.place)
    )
    for number, body in connection.execute(of_items):
        answers.setdefault(number, []).append(body)
    return {row.id: _stored(row, answers.get(row.id, [])) for row in connection.execute(query)}


def _stored(row: Any, answers: Sequence[str]) -> StoredItem:
    asked = None if row.prompt_body is None else prompt_in(row.prompt_body)
    content = Content(row.kind, asked, tuple(completion_in(body) for body in answers), json.loads(row.body))
    gold = None if row.gold is None else json.loads(row.gold)
    return StoredItem(
        id=row.id,
        key=row.key,
        content=content,
        round=row.round_name or "",
        overlap=row.overlap,
        free=row.free,
        turn=row.turn,
        reason=row.reason,
        gold=gold,
        purpose=row.purpose,
        choice=row.choice,
        repeats=row.repeats,
        only_for=row.only_for,
    )


def items_of(found: Project, ids: Sequence[int]) -> dict[int, StoredItem]:
    """Those of these items that are a project's."""
    with found.database.read() as connection:
        mine = select(item.c.id).where(item.c.id.in_(ids), item.c.project_id == found.id)
        return items_with(connection, list(connection.execute(mine).scalars()))


def keys_there(found: Project, keys: Sequence[str]) -> set[str]:
    """Which of these keys (`item_key`) are items of the project."""
    with found.database.read() as connection:
        return set(_known(connection, item, item.c.project_id == found.id, keys))


def item_with_key(found: Project, new: NewItem) -> int:
    """The id of an item that has been added."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.key == item_key(new))
    with found.database.read() as connection:
        return connection.execute(query).scalar_one()


def list_items(found: Project, *, after: int = 0, kind: str | None = None, limit: int = BATCH) -> list[StoredItem]:
    """Items after an id, in the order in which they came: the next page begins after the last one's id."""
    query = select(item.c.id).where(item.c.project_id == found.id, item.c.id > after)
    if kind is not None:
        query = query.where(item.c.kind == kind)
    with found.database.read() as connection:
        ids = list(connection.execute(query.order_by(item.c.id).limit(limit)).scalars())
        by_id = items_with(connection, ids)
    return [by_id[number] for number in ids]
