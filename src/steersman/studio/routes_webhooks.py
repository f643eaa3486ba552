"""The API for webhooks: addresses that are told of a project's events. Only where the studio was started with them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from steersman.secrets import conceal
from steersman.store.audit import note
from steersman.store.webhooks import add_webhook, list_webhooks, remove_webhook
from steersman.studio.access import CanManage, studio_of
from steersman.studio.problems import Problem, nothing_here
from steersman.studio.submissions import LARGEST
from steersman.studio.webhooks import checked_endpoint

router = APIRouter(prefix="/api/projects/{project}/webhooks", tags=["webhooks"])


class WantedWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2000)]


@router.get("")
def webhooks(here: CanManage) -> list[dict[str, Any]]:
    """The addresses that are told, without their secrets."""
    return [
        {"webhook": one.id, "url": conceal(one.url), "sent": one.sent, "failures": one.failures}
        for one in list_webhooks(here.project.database, here.project)
    ]


@router.post("", status_code=201)
def add(here: CanManage, request: Request, wanted: WantedWebhook) -> dict[str, Any]:
    """Tell an address of all events from now on. The secret that signs the messages is shown this once."""
    settings = studio_of(request).settings
    if not settings.webhooks:
        raise Problem(409, "off", "webhooks are off; who runs the studio starts it with `--webhooks`")
    checked_endpoint(wanted.url, settings)
    with here.project.database.write() as connection:
        hook = add_webhook(connection, here.project, wanted.url)
        about = {"webhook": hook.id}
        note(connection, "add_webhook", person_id=here.person.id, project_id=here.project.id, about=about)
    return {"webhook": hook.id, "secret": hook.secret}


@router.delete("/{webhook}", status_code=204)
def remove(here: CanManage, webhook: Annotated[int, Path(ge=1, le=LARGEST)]) -> Response:
    with here.project.database.write() as connection:
        if not remove_webhook(connection, here.project, webhook):
            raise nothing_here()
        about = {"webhook": webhook}
        note(connection, "remove_webhook", person_id=here.person.id, project_id=here.project.id, about=about)
    return Response(status_code=204)
