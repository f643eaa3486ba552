"""The API for what is asked in a project: its tasks, as admins see them, and its guidelines."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from steersman.store.projects import guideline_versions
from steersman.store.task_list import ListedTask, count_items, list_tasks
from steersman.studio.access import CanManage
from steersman.studio.rendering import safe_html
from steersman.studio.submissions import LARGEST
from steersman.studio.tasks import messages_of

router = APIRouter(prefix="/api/projects/{project}", tags=["projects"])


class GuidelinesText(BaseModel):
    """Guidelines as they are being written, in Markdown."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=200_000)]


@router.get("/tasks")
def tasks(
    here: CanManage,
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    gold: bool | None = None,
) -> dict[str, Any]:
    """Tasks after a number, with the models that answered and how far each is; and counts of all items."""
    found = list_tasks(here.project, after=after, gold=gold, limit=limit)
    return {"counts": count_items(here.project), "tasks": [told_task(one) for one in found]}


def told_task(one: ListedTask) -> dict[str, Any]:
    """A task as its admins see it: not blind, and in the order of the import."""
    content = one.task.content
    return {
        "id": one.task.id,
        "kind": content.kind,
        "round": one.task.round,
        "overlap": one.task.overlap,
        "labels": one.labels,
        "held": one.held,
        "why": one.task.reason,
        "expected": None if one.task.gold is None else dict(one.task.gold),
        "prompt": [] if content.prompt is None else messages_of(content.prompt),
        "answers": [{"text": one.text, "html": safe_html(one.text), "model": one.model} for one in content.completions],
    }


@router.get("/guidelines")
def guidelines(here: CanManage) -> list[dict[str, Any]]:
    """All versions of the guidelines, newest first, as Markdown."""
    return [
        {"version": version, "created": created, "text": text}
        for version, created, text in guideline_versions(here.project)
    ]


@router.post("/guidelines/preview")
def preview_of_guidelines(_: CanManage, wanted: GuidelinesText) -> dict[str, Any]:
    """Markdown as labellers would see it. Nothing is kept."""
    return {"html": safe_html(wanted.text)}
