"""People who visit a studio in tests: each has a browser's cookies, or a token."""

import re
import uuid
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from steersman.store.database import Database
from steersman.store.entry import make_invite
from steersman.store.projects import Project, find_project
from steersman.studio.app import all_routes

ADDRESS = "http://localhost:8400"


class Site:
    """A studio's app, and a way in for visitors."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._visits: list[Visit] = []

    @property
    def database(self) -> Database:
        return self.app.state.studio.database

    @property
    def project(self) -> Project:
        return find_project(self.database, "helpful")

    def stranger(self) -> "Visit":
        visit = Visit(self.app)
        self._visits.append(visit)
        return visit

    def invite(self, role: str, project: str | None = "helpful", **more: Any) -> str:
        with self.database.write() as connection:
            found = None if project is None else find_project(self.database, project)
            return make_invite(connection, role, found=found, **more)

    def person(
        self, name: str, role: str = "labeller", *, project: str | None = "helpful", password: str = ""
    ) -> "Visit":
        """Somebody new who follows an invite's link."""
        visit = self.stranger()
        done = visit.join(self.invite(role, project), name, password)
        assert done.status_code == 200, done.text
        return visit

    def admin(self, name: str = "Ada") -> "Visit":
        """An admin of the whole studio."""
        return self.person(name, "admin", project=None)

    def close(self) -> None:
        for visit in self._visits:
            visit.client.close()
        self.app.state.uploads.close()
        self.database.close()


class Visit:
    """One browser. `send` shows the page's token, as the studio's pages do."""

    def __init__(self, app: FastAPI) -> None:
        self.client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)
        self.csrf = ""

    def get(self, path: str, **more: Any) -> Any:
        reply = self.client.get(path, **more)
        found = (
            re.search(r'name="csrf" content="([^"]*)"', reply.text)
            if "html" in reply.headers.get("content-type", "")
            else None
        )
        self.csrf = found[1] if found else self.csrf
        return reply

    def send(self, method: str, path: str, **more: Any) -> Any:
        return self.client.request(method, path, headers={"X-CSRF": self.csrf, **more.pop("headers", {})}, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.send("POST", path, json=body, **more)

    def join(self, secret: str, name: str, password: str = "") -> Any:
        self.get(f"/join/{secret}")
        done = self.send("POST", f"/join/{secret}", data={"name": name, "password": password})
        if done.status_code == 200:
            self.get("/")
        return done

    def next(self, project: str = "helpful", **query: Any) -> list[dict[str, Any]]:
        reply = self.get(f"/api/projects/{project}/tasks/next", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()["tasks"]

    def event(self, kind: str, task: int | None, *, key: str = "", project: str = "helpful", **more: Any) -> Any:
        body = {"key": key or uuid.uuid4().hex, "kind": kind, "task": task, **more}
        return self.post(f"/api/projects/{project}/events", body)


def routes_of(app: FastAPI) -> list[APIRoute]:
    return [route for route in all_routes(app.routes) if isinstance(route, APIRoute)]


def calls_of(app: FastAPI) -> list[tuple[str, APIRoute]]:
    """Every method of every route."""
    return [(method, route) for route in routes_of(app) for method in sorted(route.methods)]


def path_of(route: APIRoute, *, project: str = "helpful", person: int = 999) -> str:
    """An address of a route: of this project, and of numbers that nothing has."""
    path = route.path.replace("{project}", project).replace("{person}", str(person))
    return re.sub(r"\{\w+\}", "999", path)
