"""The API of practice before the first task, and of tasks that were skipped."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from steersman.store.items import items_of
from steersman.store.labelling import Submission, revisit_skipped
from steersman.store.people import Member
from steersman.store.practice import Practice, answer_practice, has_practice, practice_items, practice_of, practised
from steersman.store.projects import Project, settings_of
from steersman.studio.access import CanLabel, Here
from steersman.studio.problems import Problem, nothing_here
from steersman.studio.reviewing import LETTERS, words_of
from steersman.studio.submissions import Key, SubmittedEvent, verdict_of
from steersman.studio.tasks import shown_order, task_for

router = APIRouter(prefix="/api/projects/{project}", tags=["labelling"])
PRACTISES = ("labeller",)
"""Roles that practise before their first task; others know the project."""
MOST_AT_ONCE = 20


class PracticeAnswer(SubmittedEvent):
    """An answer to a practice item: a label's fields."""

    kind: Literal["label"] = "label"  # pyright: ignore[reportIncompatibleVariableOverride]


class WantedRevisit(BaseModel):
    """Asks for what one has skipped."""

    model_config = ConfigDict(extra="forbid")

    key: Key


@router.get("/practice")
def practice(here: CanLabel) -> dict[str, Any]:
    """Where one is with practice, and the items that are left. `state`: none (there is no practice), open, passed,
    failed."""
    member = here.as_member()
    found = Practice("passed") if here.role not in PRACTISES else practice_of(here.project, member.pseudonym)
    tasks = practice_items(here.project, found, MOST_AT_ONCE)
    settings = settings_of(here.project)
    return {**_shown(found), "tasks": [task_for(task, member.pseudonym, 0.0, settings) for task in tasks]}


@router.post("/practice")
def answer(here: CanLabel, said: PracticeAnswer) -> dict[str, Any]:
    """Answer a practice item: whether it was right, what was expected, and why."""
    member, number = here.as_member(), said.task
    task = None if number is None else items_of(here.project, [number]).get(number)
    if task is None or task.purpose != "practice":
        raise nothing_here(f"there is no practice item {number} in this project")
    verdict = verdict_of(said, task, member.pseudonym, settings_of(here.project))
    marked = answer_practice(here.project, Submission(member.pseudonym, task.id, said.key, verdict))
    order = [shown_order(task, member.pseudonym)[slot] for slot in said.shown or range(len(task.content.completions))]
    letters = {place: LETTERS[slot % len(LETTERS)] for slot, place in enumerate(order)}
    expected = words_of(task.content.kind, marked.expected, letters)
    told = {"right": marked.right, "expected": expected, "explanation": marked.explanation}
    return {**told, **_shown(marked.practice)}


@router.post("/revisit")
def revisit(here: CanLabel, wanted: WantedRevisit) -> dict[str, int]:
    """Get again what one has skipped. Returns how many tasks these are; others may have got them meanwhile."""
    return {"tasks": len(revisit_skipped(here.project, here.as_member().pseudonym, wanted.key))}


def require_practice(here: Here, member: Member) -> None:
    """Refuse a labeller who has to practise first."""
    if here.role in PRACTISES and not _may_begin(here.project, member):
        raise Problem(403, "practice", "this project begins with practice; answer its practice items first")


def _may_begin(found: Project, member: Member) -> bool:
    with found.database.read() as connection:
        if not has_practice(connection, found.id):
            return True
        return practised(connection, found.id, member.annotator_id).may_begin


def _shown(found: Practice) -> dict[str, Any]:
    return {
        "state": found.state,
        "items": found.items,
        "left": len(found.left),
        "right_so_far": found.right,
        "needed": found.needed,
        "attempts_left": found.attempts_left,
    }
