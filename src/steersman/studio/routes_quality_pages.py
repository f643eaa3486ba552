"""The pages of quality: figures, the queue of doubtful items, and one item with its decision."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from steersman.errors import DataError, UsageError
from steersman.store.audit import note
from steersman.store.checks import shares_of
from steersman.store.gold import set_gold
from steersman.store.labelling import Submission, adjudicate
from steersman.store.practice import has_practice, let_in
from steersman.store.projects import change_settings, settings_of
from steersman.store.second_opinions import ask_one_more
from steersman.studio.access import CanManage, CanReview, CanSee, Here
from steersman.studio.rendering import project_page
from steersman.studio.reviewing import event_of_form
from steersman.studio.routes_quality import ItemNumber, kept_quality, make_gold, practising, shown_item, task_in
from steersman.studio.submissions import LARGEST, verdict_of

router = APIRouter(prefix="/projects/{project}/quality", include_in_schema=False)

ON_PAGE = 50
Percent = Annotated[int, Form(ge=0, le=50)]


async def form_of(request: Request) -> Mapping[str, Any]:
    """A page's form. Which fields it has follows from the kind of task."""
    return dict(await request.form())


@router.get("")
def figures(here: CanSee, request: Request) -> HTMLResponse:
    return _figures(here, request)


def _figures(here: Here, request: Request, message: str = "", status: int = 200) -> HTMLResponse:
    found, behind = kept_quality(request, here.project)
    settings = settings_of(here.project)
    with here.project.database.read() as connection:
        practice = has_practice(connection, here.project.id)
    return project_page(
        request,
        here.project,
        "quality.html",
        status=status,
        title="Quality",
        quality=found,
        behind=behind,
        message=message,
        settings=_shares(settings),
        practising=practising(here.project) if practice and "manage" in here.rights else [],
        key=uuid.uuid4().hex,
    )


def _shares(settings: Mapping[str, Any]) -> dict[str, int]:
    shares = shares_of(settings)
    most = int(settings.get("second_opinions") or 0)
    return {"gold": round(100 * shares.gold), "repeat": round(100 * shares.repeat), "most": most}


@router.post("/settings")
def settings(here: CanManage, gold: Percent, repeat: Percent, most: Annotated[int, Form(ge=0, le=20)]) -> Response:
    """How large a share of the tasks are checks, and up to how many labels an item gets."""
    changed = {"gold_share": gold / 100, "repeat_share": repeat / 100, "second_opinions": most}
    change_settings(here.project, changed)
    with here.project.database.write() as connection:
        about = {"changed": sorted(changed)}
        note(connection, "change_project", person_id=here.person.id, project_id=here.project.id, about=about)
    return RedirectResponse(f"/projects/{here.project.name}/quality#checks", 303)


@router.post("/people")
def people(
    here: CanManage, annotator: Annotated[str, Form(max_length=200)], key: Annotated[str, Form(max_length=128)]
) -> Response:
    """Let somebody begin without practice."""
    if annotator not in {member.pseudonym for member, _ in practising(here.project)}:
        raise UsageError("there is no such labeller here")
    let_in(here.project, here.as_member().pseudonym, annotator, key)
    return RedirectResponse(f"/projects/{here.project.name}/quality#practice", 303)


@router.get("/doubtful")
def doubtful(here: CanSee, request: Request, skip: Annotated[int, Query(ge=0, le=LARGEST)] = 0) -> HTMLResponse:
    found, behind = kept_quality(request, here.project)
    listed = found.doubtful[skip : skip + ON_PAGE]
    count, after = len(found.doubtful), skip + ON_PAGE
    shown = {"listed": listed, "count": count, "skip": skip, "after": after if after < count else None}
    return project_page(
        request, here.project, "quality_doubtful.html", title="Doubtful items", behind=behind, every=ON_PAGE, **shown
    )


@router.get("/items/{item}")
def item(here: CanSee, request: Request, item: ItemNumber) -> HTMLResponse:
    return _item(here, request, item)


def _item(
    here: Here,
    request: Request,
    item: int,
    message: str = "",
    *,
    status: int = 200,
    form: Mapping[str, Any] | None = None,
) -> HTMLResponse:
    task = task_in(here.project, item)
    found, _ = kept_quality(request, here.project)
    listed = [one.item for one in found.doubtful]
    place = listed.index(item) if item in listed else -1
    return project_page(
        request,
        here.project,
        "quality_item.html",
        status=status,
        title=f"Item {item}",
        item=shown_item(here, request, task),
        message=message,
        key=uuid.uuid4().hex,
        next_doubtful=next((one for one in listed[place + 1 :] if one != item), None),
        given=form or {},
    )


@router.post("/items/{item}")
def act(here: CanReview, request: Request, item: ItemNumber, form: Annotated[Any, Depends(form_of)]) -> Response:
    """A reviewer's act: decide, ask one more person, or make the item gold, practice, or ordinary again."""
    task = task_in(here.project, item)
    try:
        _act(here, task, str(form.get("do", "")), form)
    except (UsageError, DataError) as refused:
        return _item(here, request, item, str(refused), status=422, form=form)
    return RedirectResponse(f"/projects/{here.project.name}/quality/items/{item}", 303)


def _act(here: Here, task: Any, do: str, form: Mapping[str, Any]) -> None:
    kinds: Mapping[str, Literal["gold", "practice"]] = {"gold": "gold", "practice": "practice"}
    settings, member = settings_of(here.project), here.as_member()
    key = str(form.get("key", ""))
    match do:
        case "decide":
            verdict = verdict_of(event_of_form(form, task, settings), task, member.pseudonym, settings)
            adjudicate(here.project, Submission(member.pseudonym, task.id, key, verdict))
        case "more":
            ask_one_more(here.project, member.pseudonym, task.id, key, str(form.get("reason", ""))[:1000])
        case "gold" | "practice":
            make_gold(here, task, event_of_form(form, task, settings), kinds[do])
        case "ordinary":
            set_gold(here.project, member.pseudonym, task.id, key, None)
        case _:
            raise UsageError("choose what to do: decide, ask one more, or make it a known answer")
