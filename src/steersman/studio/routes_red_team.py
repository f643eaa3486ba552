"""The API of red-teaming: tasks from goals, and two answers of the project's model to what somebody writes."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from steersman.errors import DataError
from steersman.records import Message, Prompt
from steersman.store.audit import note
from steersman.store.content import Content
from steersman.store.exchanges import (
    Exchange,
    NewExchange,
    count_exchanges,
    exchange_with_key,
    find_exchange,
    keep_exchange,
)
from steersman.store.items import NewItem, StoredItem, add_items, items_of
from steersman.store.people import Member
from steersman.store.progress import held_items
from steersman.store.projects import Project, settings_of
from steersman.studio.access import CanLabel, CanManage, Here, studio_of
from steersman.studio.problems import Problem, nothing_here
from steersman.studio.rendering import safe_html
from steersman.studio.responder import Responder, responder_of
from steersman.studio.routes_practice import require_practice
from steersman.studio.submissions import LARGEST, ItemId, Key, SubmittedEvent, verdict_of_exchange
from steersman.studio.tasks import RED_TEAM, messages_of, opening_of

router = APIRouter(prefix="/api/projects/{project}", tags=["labelling"])

MOST_TASKS = 10_000
MOST_EXCHANGES = 100
"""Messages that one person writes for one task."""
TaskId = Annotated[int, Path(ge=1, le=LARGEST)]
Goal = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class WantedGoals(BaseModel):
    """Red-teaming tasks: for each goal so many, each for so many people."""

    model_config = ConfigDict(extra="forbid")

    goals: Annotated[list[Goal], Field(min_length=1, max_length=1000)]
    tasks: Annotated[int, Field(ge=1, le=1000)] = 1
    overlap: Annotated[int, Field(ge=1, le=1000)] = 1
    round: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class WantedAnswers(BaseModel):
    """A message to the model. A conversation goes on `after` an exchange, with the answer in the `slot`."""

    model_config = ConfigDict(extra="forbid")

    key: Key
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
    after: ItemId | None = None
    slot: Annotated[int, Field(ge=0, le=1)] | None = None


@router.post("/red-team", status_code=201)
def add_goals(here: CanManage, wanted: WantedGoals) -> dict[str, Any]:
    """Add red-teaming tasks. A goal says what people shall try; the model does not see it."""
    if len(wanted.goals) * wanted.tasks > MOST_TASKS:
        raise DataError(f"{len(wanted.goals)} goals with {wanted.tasks} tasks each; at most {MOST_TASKS:,} at once")
    items = [
        NewItem(_content(goal, number), wanted.round, wanted.overlap)
        for number in range(1, wanted.tasks + 1)
        for goal in dict.fromkeys(wanted.goals)
    ]
    added = add_items(here.project, items)
    with here.project.database.write() as connection:
        note(connection, "add_goals", person_id=here.person.id, project_id=here.project.id, about={"tasks": added})
    return {"tasks": added, "repeated": len(items) - added}


def _content(goal: str, number: int) -> Content:
    return Content(RED_TEAM, Prompt((Message("user", goal),)), (), {"number": number} if number > 1 else {})


@router.post("/tasks/{task}/answers")
async def answers(here: CanLabel, request: Request, task: TaskId, wanted: WantedAnswers) -> dict[str, Any]:
    """Two answers of the project's model to a message, blind. The same key again gives the same answers. The choice
    between them is a label of the task with this `exchange`."""
    asked = await run_in_threadpool(_begin, here, request, task, wanted)
    if isinstance(asked, Exchange):
        return shown_exchange(asked, here.as_member(), task)
    responder, messages, place = asked
    found = await request.app.state.responses.two(responder, messages, here.person.id)
    member = await run_in_threadpool(here.as_member)
    new = NewExchange(member.pseudonym, task, wanted.key, messages, found, wanted.after, place)
    return shown_exchange(await run_in_threadpool(keep_exchange, here.project, new), member, task)


def _begin(
    here: Here, request: Request, number: int, wanted: WantedAnswers
) -> Exchange | tuple[Responder, list[Message], int | None]:
    """What the model is asked; or the exchange that this key has brought already."""
    found, member = here.project, here.as_member()
    require_practice(here, member)
    task = items_of(found, [number]).get(number)
    if task is None or task.content.kind != RED_TEAM:
        raise nothing_here(f"there is no red-teaming task {number} in this project")
    known = exchange_with_key(found, member.annotator_id, number, wanted.key)
    if known is not None:
        return known
    with found.database.read() as connection:
        if number not in held_items(connection, member.annotator_id, (RED_TEAM,)):
            raise Problem(409, "not_held", "this task is not yours now; load the page again")
    if count_exchanges(found, member.annotator_id, number) >= MOST_EXCHANGES:
        raise Problem(409, "enough", f"you have written {MOST_EXCHANGES} messages for this task; choose, or skip it")
    responder = responder_of(settings_of(found), studio_of(request).settings)
    if responder is None:
        raise Problem(409, "no_model", "this project has no model that answers; an admin sets it on the page Settings")
    messages, place = _conversation(here, member, task, wanted, responder.system)
    return responder, [*messages, Message("user", wanted.text)], place


def _conversation(
    here: Here, member: Member, task: StoredItem, wanted: WantedAnswers, system: str
) -> tuple[list[Message], int | None]:
    """What was said before the message, and the place of the answer that it goes on from."""
    if (wanted.after is None) != (wanted.slot is None):
        raise DataError("a conversation goes on `after` an exchange with the answer of a `slot`; give both, or neither")
    if wanted.after is None or wanted.slot is None:
        begun = opening_of(task.content.prompt)
        has_system = any(one.role == "system" for one in begun)
        return [*([Message("system", system)] if system and not has_system else []), *begun], None
    before = find_exchange(here.project, member.annotator_id, task.id, wanted.after)
    place = exchange_order(before, member, task.id)[wanted.slot]
    return [*before.messages, Message("assistant", before.completions[place].text)], place


def exchange_order(exchange: Exchange, member: Member, task: int) -> list[int]:
    """The place of the answer in each slot: it follows from the exchange alone, as that of a pair does."""

    def lot(place: int) -> bytes:
        return hashlib.sha256(f"{task} {exchange.number} {member.pseudonym} {place}".encode()).digest()

    return sorted(range(len(exchange.completions)), key=lot)


def shown_exchange(exchange: Exchange, member: Member, task: int) -> dict[str, Any]:
    """An exchange as its author sees it: not which answer was sampled first."""
    texts = [exchange.completions[place].text for place in exchange_order(exchange, member, task)]
    return {
        "exchange": exchange.number,
        "conversation": messages_of(Prompt(tuple(one for one in exchange.messages if one.role != "system"))),
        "answers": [{"slot": slot, "text": text, "html": safe_html(text)} for slot, text in enumerate(texts)],
    }


def red_team_verdict(found: Project, member: Member, said: SubmittedEvent, task: StoredItem) -> dict[str, Any]:
    """The verdict that the store keeps of a choice between the answers of an exchange."""
    if said.exchange is None:
        raise DataError("a red-teaming label needs its `exchange`: write a message, then choose between the answers")
    exchange = find_exchange(found, member.annotator_id, task.id, said.exchange)
    return verdict_of_exchange(said, exchange, exchange_order(exchange, member, task.id))
