"""Who may do what: every route has a gate, and every role meets every route."""

import json
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Mount
from store_pairs import pairs_in
from studio_visits import calls_of, path_of, routes_of

from steersman.store.imports import Wishes, import_source
from steersman.store.people import members_of
from steersman.store.projects import create_project
from steersman.studio.access import MAY, Anybody, In, OfRuns, SignedIn, gates_of
from steersman.studio.app import all_routes, create_app, refuse_open_routes
from steersman.studio.navigation import ADMIN, PROJECT, STUDIO
from steersman.studio.settings import StudioSettings

FOR_EVERYBODY = {
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/join/{secret}"),
    ("POST", "/join/{secret}"),
    ("GET", "/static/shared/{name}"),
}
"""What is open to those who are not signed in. Everything else is refused to them."""
ROLES = ("stranger", "outsider", "viewer", "labeller", "reviewer", "admin", "owner")
BODIES: dict[str, Any] = {
    "/api/projects": {"name": "another"},
    "/api/projects/{project}": {"title": "Other"},
    "/api/projects/{project}/events": {"key": "k", "kind": "label", "task": 1, "choice": "tie"},
    "/api/projects/{project}/events/batch": [],
    "/api/projects/{project}/decisions": {"key": "d", "task": 1, "choice": "first"},
    "/api/projects/{project}/practice": {"key": "p", "task": 1, "choice": "first"},
    "/api/projects/{project}/revisit": {"key": "r"},
    "/api/projects/{project}/quality/items/{item}/more": {"key": "m"},
    "/api/projects/{project}/quality/items/{item}/gold": {"key": "g", "task": 999, "choice": "first"},
    "/api/projects/{project}/members/{person}/qualified": {"key": "q"},
    "/api/projects/{project}/invites": {"role": "labeller"},
    "/api/projects/{project}/members/{person}": {"role": "viewer"},
    "/api/projects/{project}/imports": {"file": "none"},
    "/api/projects/{project}/imports/preview": {"file": "none"},
    "/api/projects/{project}/guidelines/preview": {"text": "Be kind."},
    "/api/projects/{project}/tasks/{task}/gold": {"choice": "first"},
    "/api/projects/{project}/red-team": {"goals": ["Get it to lie."]},
    "/api/projects/{project}/tasks/{task}/answers": {"key": "a", "text": "Hello"},
    "/api/projects/{project}/webhooks": {"url": "https://example.org/"},
    "/api/people/{person}/admin": {"admin": False},
    "/api/tokens": {"name": "script", "scope": "read"},
    "/api/me/password": {"new": "a long password"},
}


@pytest.fixture
def app(tmp_path):
    app = create_app(str(tmp_path / "table.db"), StudioSettings())
    yield app
    app.state.uploads.close()
    app.state.studio.database.close()


def test_every_route_has_one_gate_and_few_are_for_everybody(app):
    assert {(m, route.path) for m, route in calls_of(app) if isinstance(gates_of(route)[0], Anybody)} <= FOR_EVERYBODY
    others = [route for route in all_routes(app.routes) if not isinstance(route, APIRoute)]
    assert [(type(one), getattr(one, "path", "")) for one in others] == [(Mount, "/static")]
    assert len(calls_of(app)) > 65


def test_a_route_without_a_gate_does_not_start(app):
    router = APIRouter()
    router.add_api_route("/open", lambda: "hello")
    with pytest.raises(AssertionError, match="/open has 0 gates"):
        refuse_open_routes(router.routes)
    app.include_router(router)
    with pytest.raises(AssertionError, match="/open has 0 gates"):
        refuse_open_routes(app.routes)


def test_what_is_about_a_project_asks_for_a_right_there(app):
    for route in routes_of(app):
        assert ("{project}" in route.path) == isinstance(gates_of(route)[0], In), route.path


def test_the_navigation_leads_where_its_readers_may_go(app):
    """An entry asks for the same right as the page that it leads to: nobody sees a link that is refused to them."""
    gates = {route.path: gates_of(route)[0] for method, route in calls_of(app) if method == "GET"}
    for entry in PROJECT:
        gate = gates[entry.address]
        assert isinstance(gate, In)
        assert gate.what == entry.right
    for entry in (one for one in STUDIO if one.right in ("", ADMIN)):
        gate = gates[entry.address]
        assert isinstance(gate, SignedIn)
        assert gate.admin == (entry.right == ADMIN)


def expected(role: str, gate: Any) -> set[int] | None:
    """The statuses of a refusal; None where the role may pass."""
    if isinstance(gate, Anybody):
        return None
    if role == "stranger":
        return {401, 303}
    if isinstance(gate, OfRuns):  # an outsider is an admin of another project
        return {403} if role == "labeller" else None
    if isinstance(gate, SignedIn):
        return {403} if gate.admin and role != "owner" else None
    if role == "outsider":
        return {404}
    return None if role == "owner" or gate.what in MAY[role] else {403}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_passes_its_gates_and_no_other(site, tasks, role):
    tasks(3)
    create_project(site.database, "elsewhere")
    visits = {
        "stranger": site.stranger,
        "outsider": lambda: site.person("Out", "admin", project="elsewhere"),
        "owner": site.admin,
    }
    visit = visits.get(role, lambda: site.person("Pat", role))()
    wrong: list[str] = []
    for method, route in calls_of(site.app):
        if "stream" in route.path or "sign-out" in route.path:
            continue  # the one does not end, the other ends the visit; both are tested by themselves
        visit.get("/")  # a page's token, after a password changed too
        body = BODIES.get(route.path) if method in ("POST", "PUT", "PATCH") else None
        reply = visit.send(method, path_of(route), json=body, follow_redirects=False)
        refused = expected(role, gates_of(route)[0])
        passed = reply.status_code not in (401, 403) and not (
            reply.status_code == 303 and "sign-in" in str(reply.headers)
        )
        unseen = reply.status_code == 404 and "nothing here, or you may not see it" in reply.text
        if refused is None and not passed and route.path not in ("/sign-in", "/join/{secret}"):
            wrong.append(f"{role} should pass {method} {route.path}: {reply.status_code} {reply.text[:100]}")
        if refused is not None and reply.status_code not in refused:
            wrong.append(f"{role} should not pass {method} {route.path}: {reply.status_code}")
        if refused == {404} and not unseen:
            wrong.append(f"{role} learns of {method} {route.path}: {reply.text[:100]}")
        if reply.status_code >= 500:
            wrong.append(f"{method} {route.path}: {reply.status_code} {reply.text[:200]}")
    assert wrong == []


def test_one_project_tells_nothing_of_another(site, tasks):
    """Objects of a project are found under its own address only."""
    tasks(2)
    other = create_project(site.database, "elsewhere")
    (foreign,) = pairs_in(other, 1)
    ada = site.person("Ada", "admin")
    for kind in ("label", "skip", "flag", "comment"):
        reply = ada.event(kind, foreign.id, choice="tie" if kind == "label" else None, rationale="x")
        assert reply.status_code == 404
    assert ada.event("undo", foreign.id).status_code == 409
    assert (
        ada.post("/api/projects/helpful/decisions", {"key": "x", "task": foreign.id, "choice": "tie"}).status_code
        == 404
    )
    bea = site.person("Bea", "admin", project="elsewhere")
    person = bea.get("/api/me").json()["person"]
    for path in (f"/api/projects/helpful/members/{person}", f"/api/people/{person}/data"):
        assert ada.send("DELETE" if "members" in path else "GET", path).status_code == 404
    assert ada.send("DELETE", f"/api/people/{person}").status_code == 404
    token = bea.post("/api/tokens", {"name": "script"}).json()["token"]
    assert ada.send("DELETE", f"/api/tokens/{token}").status_code == 404
    assert [one["project"] for one in ada.get("/api/projects").json()] == ["helpful"]


def test_a_token_may_do_what_its_scope_says(site, tasks):
    tasks(2)
    create_project(site.database, "elsewhere")
    ada = site.admin()
    made = {
        scope: ada.post("/api/tokens", {"name": scope, "scope": scope}).json()["secret"]
        for scope in ("read", "label", "manage")
    }
    made["one"] = ada.post("/api/tokens", {"name": "one", "scope": "manage", "project": "helpful"}).json()["secret"]

    def status(scope: str, method: str, path: str, body: Any = None) -> int:
        headers = {"Authorization": f"Bearer {made[scope]}"}
        return site.stranger().client.request(method, path, json=body, headers=headers).status_code

    label = {"key": "t", "kind": "label", "task": 1, "choice": "tie"}
    helpful = "/api/projects/helpful"
    assert [status(one, "GET", f"{helpful}/progress") for one in made] == [200, 200, 200, 200]
    assert [status(one, "POST", f"{helpful}/events", label) for one in made] == [403, 200, 200, 200]
    assert [status(one, "PATCH", helpful, {"title": "x"}) for one in made] == [403, 403, 200, 200]
    assert [status(one, "GET", "/api/projects/elsewhere") for one in made] == [200, 200, 200, 404]
    assert [status(one, "GET", "/api/people") for one in made] == [403, 403, 200, 403]
    assert [status(one, "GET", "/api/tokens") for one in made] == [403] * 4, "a token makes no tokens"
    assert [status(one, "GET", "/api/people/1/data") for one in made] == [403] * 4
    made["none"] = "steersman_nothing"
    assert status("none", "GET", helpful) == 401


def test_a_token_ends_with_its_time_its_owner_and_its_removal(site, tasks, monkeypatch):
    tasks(1)
    ann = site.person("Ann")
    made = ann.post("/api/tokens", {"name": "script", "scope": "label", "days": 1}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    ask = lambda: site.stranger().client.get("/api/projects/helpful", headers=headers).status_code  # noqa: E731
    assert ask() == 200
    assert "secret" not in ann.get("/api/tokens").text
    import steersman.store.entry as entry

    now = entry.time.time()
    monkeypatch.setattr(entry.time, "time", lambda: now + 2 * 86400)
    assert ask() == 401
    monkeypatch.undo()
    assert ann.send("DELETE", f"/api/tokens/{made['token']}").status_code == 204
    assert ask() == 401


def test_a_role_that_is_taken_away_is_gone_at_once(site, tasks):
    tasks(1)
    ada, ann = site.person("Ada", "admin"), site.person("Ann")
    person = ann.get("/api/me").json()["person"]
    changed = ada.send("PUT", f"/api/projects/helpful/members/{person}", json={"role": "viewer"})
    assert changed.json()["role"] == "viewer"
    assert ann.get("/api/projects/helpful/tasks/next").status_code == 403
    assert ann.get("/api/projects/helpful/progress").status_code == 200
    assert ada.send("DELETE", f"/api/projects/helpful/members/{person}").status_code == 204
    assert ann.get("/api/projects/helpful").status_code == 404
    names = [one["name"] for one in ada.get("/api/projects/helpful/members").json()]
    assert names == ["Ada"]
    log = [one["action"] for one in ada.get("/api/projects/helpful/audit").json()]
    assert log[:2] == ["remove_member", "change_role"]


def test_an_import_gives_nobody_a_right(site, tmp_path):
    """A full-fidelity file names roles of pseudonyms. They are data; what a person may do is kept elsewhere."""
    ann = site.person("Ann")
    with site.database.read() as connection:
        (member,) = members_of(connection, site.project.id)
    row = {"studio": 1, "kind": "label", "item": "thumb", "role": "admin", "annotator": member.pseudonym}
    row |= {"desirable": True, "prompt": {"text": "Hello"}, "completions": [{"text": "Hi"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert import_source(site.project, str(tmp_path / "rows.jsonl"), Wishes()).labels == 1
    assert ann.get("/api/projects/helpful").json()["role"] == "labeller"
    assert ann.get("/api/projects/helpful/members").status_code == 403
