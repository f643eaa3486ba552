"""The API for running a project: create, describe, pause, import a file, progress, decide, export."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, no_type_check

from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from starlette.background import BackgroundTask

from steersman.errors import UsageError
from steersman.settings.columns import ColumnSettings
from steersman.store.audit import note
from steersman.store.export import FULL, export_project
from steersman.store.imports import Wishes
from steersman.store.items import items_of
from steersman.store.labelling import Submission, adjudicate
from steersman.store.pace import project_pace
from steersman.store.people import roles_of
from steersman.store.progress import project_progress
from steersman.store.projects import (
    Project,
    change_settings,
    create_project,
    list_projects,
    set_guidelines,
    set_licence,
    set_state,
    settings_of,
)
from steersman.store.reading import read_rows
from steersman.store.reading_cursor import cursor_of
from steersman.store.snapshots import find_snapshot, freeze, list_snapshots
from steersman.studio.access import CanManage, CanReview, CanSee, ReadsStudio, RunsStudio, studio_of
from steersman.studio.problems import nothing_here
from steersman.studio.responder import parse_place
from steersman.studio.settings import StudioSettings
from steersman.studio.submissions import LARGEST, SubmittedEvent, verdict_of
from steersman.studio.uploads import import_upload, preview, preview_import

router = APIRouter(prefix="/api/projects", tags=["projects"])

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
KEPT = (
    *("title", "attributes", "strength", "rationale_required"),
    *("gold_share", "repeat_share", "second_opinions", "practice", "responder"),
)
"""Settings of a project that are described."""
Task = Literal["", "pair", "ranking", "rating", "thumb", "demonstration", "red_team"]


class Attribute(BaseModel):
    """What answers are rated by: a name for the data, a title for people, and the range. `low` and `high` say what its
    ends mean."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,49}$")]
    title: Line = ""
    description: Line = ""
    low: Line = ""
    high: Line = ""
    least: FiniteFloat = 1
    most: FiniteFloat = 5

    @model_validator(mode="after")
    def _has_a_range(self) -> "Attribute":
        if self.least >= self.most:
            raise ValueError(f"an attribute goes from its least to its most; seen {self.least:g} to {self.most:g}")
        return self


class PracticeTerms(BaseModel):
    """How large a share of the practice items must be right, and how often one may try."""

    model_config = ConfigDict(extra="forbid")

    share: Annotated[FiniteFloat, Field(ge=0, le=1, alias="pass")] = 0.7
    attempts: Annotated[int, Field(ge=1, le=100)] = 3


class ResponderTerms(BaseModel):
    """The model that people write to in red-teaming, as URL#NAME, and what its answers are sampled by. Without a model
    it is the studio's."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x20\x7f]*$")] = ""
    system: Annotated[str, Field(max_length=20_000)] = ""
    temperature: Annotated[FiniteFloat, Field(ge=0, le=10)] = 1.0
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 512


class Description(BaseModel):
    """What is said of a project. What is not given stays as it is."""

    model_config = ConfigDict(extra="forbid")

    title: Line | None = None
    guidelines: Annotated[str, Field(max_length=200_000)] | None = None
    licence: Line | None = None
    attributes: Annotated[list[Attribute], Field(max_length=20)] | None = None
    strength: bool | None = None
    rationale_required: bool | None = None
    gold_share: Annotated[FiniteFloat, Field(ge=0, le=0.5)] | None = None
    repeat_share: Annotated[FiniteFloat, Field(ge=0, le=0.5)] | None = None
    second_opinions: Annotated[int, Field(ge=0, le=20)] | None = None
    practice: PracticeTerms | None = None
    responder: ResponderTerms | None = None
    state: Literal["open", "paused", "closed"] | None = None


class WantedProject(Description):
    """A new project. Its name is for addresses and commands: letters, digits, dots, dashes and underscores."""

    name: Annotated[str, Field(min_length=1, max_length=64)]


class WantedImport(BaseModel):
    """The import of an uploaded file: as tasks of a kind, each for so many people, or as judgements that it holds."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[str, Field(max_length=64)]
    task: Task = ""
    overlap: Annotated[int, Field(ge=1, le=1000)] = 1
    round: Line = ""
    annotator: Line = ""
    purpose: Literal["", "gold", "practice"] = ""
    format: Annotated[str, Field(max_length=40)] | None = None
    columns: ColumnSettings | None = None

    @property
    def rows_as(self) -> str | dict[str, Any] | None:
        """How the rows are read: by a format's name, by columns, or (None) as their fields say."""
        return self.format if self.columns is None else self.columns.mapping()

    @property
    def wishes(self) -> Wishes:
        return Wishes(self.round, self.annotator, self.task, self.overlap, self.purpose)


class Decision(SubmittedEvent):
    """A reviewer's decision about a task: a label's fields, which training reads in place of the task's labels."""

    kind: Literal["label"] = "label"  # pyright: ignore[reportIncompatibleVariableOverride]


@router.get("")
def projects(door: ReadsStudio) -> list[dict[str, Any]]:
    """The projects that one may open."""
    assert door.person is not None
    with door.studio.database.read() as connection:
        roles = dict(roles_of(connection, door.person.id))
    return [
        {"project": one.name, "title": str(one.settings.get("title") or one.name), "state": one.state, "role": role}
        for one in list_projects(door.studio.database)
        if (role := "admin" if door.person.admin else roles.get(one.name, ""))
    ]


@router.post("", status_code=201)
def create(door: RunsStudio, wanted: WantedProject) -> dict[str, Any]:
    """Create a project."""
    assert door.person is not None
    database = door.studio.database
    _check_responder(wanted, door.studio.settings)
    found = create_project(database, wanted.name, guidelines=wanted.guidelines or "", licence=wanted.licence or "")
    _describe(found, wanted.model_copy(update={"guidelines": None, "licence": None}))
    with database.write() as connection:
        note(connection, "create_project", person_id=door.person.id, project_id=found.id)
    return {"project": found.name}


@router.patch("/{project}")
def describe(here: CanManage, request: Request, wanted: Description) -> dict[str, Any]:
    """Change a project: title, guidelines (earlier versions are kept), attributes, or state (open, paused, closed)."""
    _check_responder(wanted, studio_of(request).settings)
    changed = _describe(here.project, wanted)
    with here.project.database.write() as connection:
        about = {"changed": changed, "state": wanted.state}
        note(connection, "change_project", person_id=here.person.id, project_id=here.project.id, about=about)
    return {"project": here.project.name, "changed": changed}


def _check_responder(wanted: Description, settings: StudioSettings) -> None:
    if wanted.responder is not None and wanted.responder.model:
        parse_place(wanted.responder.model, settings)


def _describe(found: Project, wanted: Description) -> list[str]:
    given = wanted.model_dump(exclude_none=True, by_alias=True)
    if wanted.guidelines is not None:
        set_guidelines(found, wanted.guidelines)
    if wanted.licence is not None:
        set_licence(found, wanted.licence)
    if wanted.state is not None:
        set_state(found, wanted.state)
    if wanted.attributes is not None:
        given["attributes"] = [_as_kept(one) for one in wanted.attributes]
    kept = {name: given[name] for name in KEPT if name in given}
    if kept:
        change_settings(found, kept)
    return sorted(given.keys() - {"name"})


def _as_kept(one: Attribute) -> dict[str, Any]:
    return {
        name: value for name, value in one.model_dump().items() if value or name not in ("description", "low", "high")
    }


@router.post("/{project}/files", status_code=201)
@no_type_check  # FastAPI asks for its own class here and passes Starlette's
def upload(here: CanManage, request: Request, file: UploadFile) -> dict[str, Any]:
    """Upload a file to import. The reply shows its columns, its first rows, and its format, if it is a known one."""
    kept = request.app.state.uploads.keep(file.filename or "", file.file, here.project, here.person.id)
    return preview(kept)


@router.post("/{project}/imports/preview")
def preview_of_import(here: CanManage, request: Request, wanted: WantedImport) -> dict[str, Any]:
    """What an import of an uploaded file would bring, from its first rows, with some tasks as people would see them."""
    kept = request.app.state.uploads.find(wanted.file, here.project, here.person.id)
    return preview_import(kept, wanted.wishes, format=wanted.rows_as)


@router.post("/{project}/imports", status_code=201)
def import_(here: CanManage, request: Request, wanted: WantedImport) -> dict[str, Any]:
    """Import an uploaded file. The same import again adds nothing twice."""
    kept = request.app.state.uploads.find(wanted.file, here.project, here.person.id)
    told = import_upload(here.project, kept, wanted.wishes, format=wanted.rows_as)
    with here.project.database.write() as connection:
        about = {name: told[name] for name in ("items", "labels", "tasks")}
        note(connection, "import", person_id=here.person.id, project_id=here.project.id, about=about)
    return told


@router.get("/{project}/progress")
def progress(here: CanSee) -> dict[str, Any]:
    """Tasks, labels wanted and given, and each annotator's labels, by pseudonym."""
    return project_progress(here.project)


@router.post("/{project}/decisions")
def decide(here: CanReview, decision: Decision) -> dict[str, Any]:
    """A reviewer's decision about a task."""
    assert decision.task is not None
    member = here.as_member()
    task = items_of(here.project, [decision.task]).get(decision.task)
    if task is None:
        raise nothing_here(f"there is no task {decision.task} in this project")
    if decision.choice == "cannot_judge":
        raise UsageError("a decision decides; leave the task open if it cannot be judged")
    verdict = verdict_of(decision, task, member.pseudonym, settings_of(here.project))
    receipt = adjudicate(here.project, Submission(member.pseudonym, task.id, decision.key, verdict))
    return {"event": receipt.number, "counts": True}


@router.get("/{project}/pace")
def pace(here: CanSee) -> dict[str, Any]:
    """Labels by day and annotator, and when the project is done if people go on as in the last seven days."""
    return project_pace(here.project)


@router.get("/{project}/snapshots")
def snapshots(here: CanSee) -> list[dict[str, Any]]:
    """The snapshots that training runs read."""
    return [
        {"snapshot": one.number, "rows": one.rows, "hash": one.content, "created": one.created}
        for one in list_snapshots(here.project)
    ]


@router.post("/{project}/snapshots", status_code=201)
def snapshot(here: CanManage, labels: Literal["", "soft"] = "") -> dict[str, Any]:
    """Freeze a snapshot to train on. If nothing has changed since an earlier one, it is that one. With `labels=soft`
    each pair and thumb has one soft label."""
    one = freeze(here.project, labels=labels)
    source = f"studio:{here.project.name}?snapshot={one.number}"
    return {"snapshot": one.number, "rows": one.rows, "hash": one.content, "source": source}


@router.get("/{project}/export", response_class=Response)
def export(
    here: CanSee,
    to: Annotated[str, Query(max_length=40)] = FULL,
    ending: Literal["jsonl", "jsonl.gz", "parquet"] = "jsonl",
    round: Annotated[str, Query(max_length=200)] = "",
    labels: Literal["", "soft"] = "",
    snapshot: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
) -> Response:
    """All labels, and items without one, under pseudonyms; `to` is full, or a format's name as on the command line."""
    found = here.project
    cursor = cursor_of(found, round, labels=labels) if snapshot is None else find_snapshot(found, snapshot).cursor
    with found.database.write() as connection:
        note(connection, "export", person_id=here.person.id, project_id=found.id, about={"to": to})
    name = f"{found.name}-{to}.{ending}".replace("/", "-")
    if to == FULL and ending == "jsonl" and not cursor.labels:
        rows = (
            (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode() for row in read_rows(found, cursor)
        )
        return _attached(StreamingResponse(_in_chunks(rows), media_type="application/x-ndjson"), name)
    folder = tempfile.TemporaryDirectory(prefix="steersman-export-")
    try:
        report = export_project(found, Path(folder.name) / f"labels.{ending}", to=to, cursor=cursor)
    except BaseException:
        folder.cleanup()
        raise
    background = BackgroundTask(folder.cleanup)
    kind = "application/octet-stream"
    return _attached(FileResponse(report.path, media_type=kind, background=background), name)


def _attached(response: Response, name: str) -> Response:
    plain = "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "._-" else "-" for letter in name)
    response.headers["content-disposition"] = f'attachment; filename="{plain}"'
    return response


def _in_chunks(lines: Iterator[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    waiting, length = [], 0
    for line in lines:
        waiting.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


@router.get("/{project}/card")
def card(here: CanSee) -> JSONResponse:
    """The data card of a full export: counts, agreement, licence, guidelines, and the meaning of each column."""
    from steersman.store.card import card_of

    cursor = cursor_of(here.project)
    found = card_of(here.project, cursor)
    for _ in found.counting(read_rows(here.project, cursor)):
        pass
    return JSONResponse(found.as_dict())
