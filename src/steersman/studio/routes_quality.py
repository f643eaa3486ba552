"""Quality of labels over the API: figures, doubtful items, one more opinion, gold items, who has practised."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from steersman.errors import UsageError
from steersman.quality.figures import Quality
from steersman.store.gold import set_gold
from steersman.store.items import StoredItem, items_of
from steersman.store.people import Member, members_of
from steersman.store.practice import let_in, practised
from steersman.store.projects import Project, settings_of
from steersman.store.second_opinions import ask_one_more
from steersman.studio.access import CanManage, CanReview, CanSee, Here
from steersman.studio.problems import nothing_here
from steersman.studio.reviewing import EXPECTED, reviewed_item
from steersman.studio.submissions import LARGEST, Key, Reason, SubmittedEvent, verdict_of

router = APIRouter(prefix="/api/projects/{project}", tags=["quality"])

ItemNumber = Annotated[int, Path(ge=1, le=LARGEST)]


class WantedOpinion(BaseModel):
    """One more label of an item."""

    model_config = ConfigDict(extra="forbid")

    key: Key
    reason: Reason = ""


class KnownAnswer(SubmittedEvent):
    """An item's known answer, as a label's fields. `purpose` "" makes it an ordinary item again."""

    kind: Literal["label"] = "label"  # pyright: ignore[reportIncompatibleVariableOverride]
    purpose: Literal["gold", "practice", ""] = "gold"


class Qualified(BaseModel):
    """Lets a member begin without practice."""

    model_config = ConfigDict(extra="forbid")

    key: Key


@router.get("/quality")
def quality(here: CanSee, request: Request) -> dict[str, Any]:
    """Agreement, reliability, habits and time of annotators, the bias ledger, and the doubtful items. Intervals
    are at 95 %. `behind`: events that came since these figures were computed."""
    found, behind = kept_quality(request, here.project)
    return {**found.as_dict(), "behind": behind}


@router.get("/quality/doubtful")
def doubtful(
    here: CanSee,
    request: Request,
    skip: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """Doubtful items, the least sure first: labels disagree, barely better, flagged, or said not to be judgeable."""
    found, _ = kept_quality(request, here.project)
    listed = [
        {
            "task": one.item,
            "kind": one.kind,
            "sure": one.sure,
            "labels": one.labels,
            "waiting": one.waiting,
            "reasons": list(one.reasons),
        }
        for one in found.doubtful[skip : skip + limit]
    ]
    return {"count": len(found.doubtful), "items": listed}


@router.get("/quality/items/{item}")
def item(here: CanSee, request: Request, item: ItemNumber) -> dict[str, Any]:
    """An item: answers, why it was asked, how probable each class is, and what people said of it, by pseudonym."""
    return shown_item(here, request, task_in(here.project, item))


@router.post("/quality/items/{item}/more")
def more(here: CanReview, item: ItemNumber, wanted: WantedOpinion) -> dict[str, Any]:
    """Ask one more person about an item that has all its labels."""
    receipt = ask_one_more(here.project, here.as_member().pseudonym, item, wanted.key, wanted.reason)
    return {"event": receipt.number}


@router.put("/quality/items/{item}/gold")
def gold(here: CanReview, item: ItemNumber, known: KnownAnswer) -> dict[str, Any]:
    """Give an item a known answer: gold (mixed into everybody's tasks) or practice; or take it away."""
    if known.task != item:
        raise UsageError(f"the answer is of task {known.task}, and the address names {item}")
    task = task_in(here.project, item)
    return {"event": make_gold(here, task, known, known.purpose)}


@router.get("/practice-progress")
def practice_progress(here: CanManage) -> list[dict[str, Any]]:
    """Who has practised, and who may begin."""
    return [
        {"person": member.person_id, "annotator": member.pseudonym, "state": found.state, "right": found.right}
        for member, found in practising(here.project)
    ]


@router.post("/members/{person}/qualified")
def qualified(here: CanManage, person: Annotated[int, Path(ge=1, le=LARGEST)], wanted: Qualified) -> dict[str, Any]:
    """Let a member begin without (more) practice."""
    member = next((one for one, _ in practising(here.project) if one.person_id == person), None)
    if member is None:
        raise nothing_here(f"there is no member {person} here")
    return {"event": let_in(here.project, here.as_member().pseudonym, member.pseudonym, wanted.key)}


def kept_quality(request: Request, found: Project) -> tuple[Quality, int]:
    return request.app.state.quality.of(found)


def task_in(found: Project, item: int) -> StoredItem:
    task = items_of(found, [item]).get(item)
    if task is None or task.repeats is not None:
        raise nothing_here(f"there is no task {item} in this project")
    return task


def shown_item(here: Here, request: Request, task: StoredItem) -> dict[str, Any]:
    found, _ = kept_quality(request, here.project)
    return reviewed_item(here.project, task, found, settings_of(here.project), here.as_member().pseudonym)


def make_gold(here: Here, task: StoredItem, known: SubmittedEvent, purpose: str) -> int:
    """Keep an item's known answer."""
    by, expected = here.as_member().pseudonym, None
    if purpose:
        verdict = verdict_of(known, task, by, settings_of(here.project))
        metadata = verdict.get("metadata") or {}
        expected = {name: verdict[name] for name in EXPECTED if name in verdict}
        expected |= {"rationale": metadata["rationale"]} if "rationale" in metadata else {}
    return set_gold(here.project, by, task.id, known.key, expected, purpose=purpose or "gold").number


def practising(found: Project) -> list[tuple[Member, Any]]:
    """The labellers of a project, each with how far their practice is."""
    with found.database.read() as connection:
        members = [one for one in members_of(connection, found.id) if one.role == "labeller"]
        return [(one, practised(connection, found.id, one.annotator_id)) for one in members]
