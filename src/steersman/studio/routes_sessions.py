"""The API for ways in that are open: invites nobody has used yet, and one person's sessions and tokens."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from steersman.store.audit import note
from steersman.store.entry import (
    end_session,
    list_invites,
    list_sessions,
    list_tokens,
    revoke_invite,
    revoke_token,
    sign_out_everywhere,
)
from steersman.studio.access import CanManage, InStudio
from steersman.studio.problems import nothing_here
from steersman.studio.routes_people import PersonId, own_or_admin
from steersman.studio.submissions import LARGEST

router = APIRouter(prefix="/api", tags=["people"])

Number = Annotated[int, Path(ge=1, le=LARGEST)]


@router.get("/projects/{project}/invites")
def invites(here: CanManage) -> list[dict[str, Any]]:
    """Invites to the project that can still be used. Their links are not shown again."""
    with here.project.database.read() as connection:
        return list_invites(connection, here.project.id)


@router.delete("/projects/{project}/invites/{invite}", status_code=204)
def withdraw_invite(here: CanManage, invite: Number) -> Response:
    """Withdraw an invite: its link does not work any more."""
    with here.project.database.write() as connection:
        if not revoke_invite(connection, here.project.id, invite):
            raise nothing_here("there is no such invite, or it was used already")
        about = {"invite": invite}
        note(connection, "withdraw_invite", person_id=here.person.id, project_id=here.project.id, about=about)
    return Response(status_code=204)


@router.get("/people/{person}/access")
def access_of(door: InStudio, person: PersonId) -> dict[str, Any]:
    """A person's sessions and tokens: for themselves, and for admins of the studio."""
    own_or_admin(door, person)
    settings = door.studio.settings
    with door.studio.database.read() as connection:
        sessions = list_sessions(connection, person, idle=settings.idle, life=settings.life, secret=door.session)
        return {"sessions": sessions, "tokens": list_tokens(connection, person)}


@router.delete("/people/{person}/sessions", status_code=204)
def end_sessions(door: InStudio, person: PersonId) -> Response:
    """End all sessions of a person."""
    own_or_admin(door, person)
    assert door.person is not None
    with door.studio.database.write() as connection:
        sign_out_everywhere(connection, person)
        note(connection, "sign_out_everywhere", person_id=door.person.id, about={"of": person})
    return Response(status_code=204)


@router.delete("/people/{person}/sessions/{session}", status_code=204)
def end_one_session(door: InStudio, person: PersonId, session: Number) -> Response:
    """End one session of a person."""
    own_or_admin(door, person)
    assert door.person is not None
    with door.studio.database.write() as connection:
        if not end_session(connection, person, session):
            raise nothing_here()
        note(connection, "end_session", person_id=door.person.id, about={"of": person, "session": session})
    return Response(status_code=204)


@router.delete("/people/{person}/tokens/{token}", status_code=204)
def revoke_one_token(door: InStudio, person: PersonId, token: Number) -> Response:
    """Revoke one token of a person."""
    own_or_admin(door, person)
    assert door.person is not None
    with door.studio.database.write() as connection:
        if not revoke_token(connection, person, token):
            raise nothing_here()
        note(connection, "revoke_token", person_id=door.person.id, about={"of": person, "token": token})
    return Response(status_code=204)
