"""Gold items over the API: which answer is expected of a task, and that it is an ordinary one again."""

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from steersman.store.audit import note
from steersman.store.gold import set_gold
from steersman.store.items import StoredItem, items_of
from steersman.store.projects import settings_of
from steersman.studio.access import CanManage, Here
from steersman.studio.problems import nothing_here
from steersman.studio.submissions import LARGEST, MOST_ANSWERS, SubmittedEvent, Text, verdict_of
from steersman.studio.tasks import shown_order

router = APIRouter(prefix="/api/projects/{project}/tasks/{task}", tags=["projects"])

TaskId = Annotated[int, Path(ge=1, le=LARGEST)]
_OF_A_LABEL = ("time", "shown", "seconds", "metadata")
"""What a verdict says of how it was given, and not of what is right."""


class ExpectedAnswer(BaseModel):
    """What is right: the fields of a label, by the order in which the task was imported."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["first", "second", "tie", "both_bad"] | None = None
    ranks: Annotated[list[Annotated[int, Field(ge=1, le=MOST_ANSWERS)]], Field(max_length=MOST_ANSWERS)] | None = None
    ratings: Annotated[dict[Annotated[str, Field(max_length=100)], FiniteFloat], Field(max_length=50)] | None = None
    thumb: Literal["up", "down"] | None = None
    text: Text | None = None


@router.put("/gold")
def make_gold(here: CanManage, task: TaskId, wanted: ExpectedAnswer) -> dict[str, Any]:
    """Say which answer is expected of a task. Labels of it are compared with this, and not trained on."""
    found = _task(here, task)
    member = here.as_member()
    order = shown_order(found, member.pseudonym)
    shown = [order.index(place) for place in range(len(order))]
    said = SubmittedEvent(key="gold", kind="label", task=task, shown=shown, **wanted.model_dump())
    verdict = verdict_of(said, found, member.pseudonym, settings_of(here.project))
    expected = {name: value for name, value in verdict.items() if name not in _OF_A_LABEL}
    set_gold(here.project, member.pseudonym, task, f"gold-{uuid4().hex}", expected)
    _note(here, "make_gold", task)
    return {"task": task, "expected": expected}


@router.delete("/gold", status_code=204)
def make_ordinary(here: CanManage, task: TaskId) -> Response:
    """Let a gold item be an ordinary task again."""
    _task(here, task)
    set_gold(here.project, here.as_member().pseudonym, task, f"gold-{uuid4().hex}", None)
    _note(here, "make_ordinary", task)
    return Response(status_code=204)


def _task(here: Here, task: int) -> StoredItem:
    found = items_of(here.project, [task]).get(task)
    if found is None:
        raise nothing_here(f"there is no task {task} in this project")
    return found


def _note(here: Here, action: str, task: int) -> None:
    with here.project.database.write() as connection:
        note(connection, action, person_id=here.person.id, project_id=here.project.id, about={"task": task})
