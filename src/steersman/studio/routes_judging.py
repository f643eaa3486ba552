"""The page on which people judge. What it shows comes from the API (`routes_labelling`)."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from steersman.store.projects import guidelines_of, settings_of
from steersman.studio.access import CanLabel
from steersman.studio.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project}/label")
def label_page(request: Request, here: CanLabel) -> HTMLResponse:
    title = str(settings_of(here.project).get("title") or here.project.name)
    guidelines = guidelines_of(here.project)
    return page(request, "label.html", title=title, project=here.project, guidelines=guidelines)
