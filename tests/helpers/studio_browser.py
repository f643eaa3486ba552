"""A studio that really serves, and real browsers that visit it: Debian's Chromium, driven by Playwright."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from chromium import QUIET, need_browser
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright

from steersman.records import Completion, Message, Prompt
from steersman.store.content import Content
from steersman.store.database import Database
from steersman.store.entry import make_invite
from steersman.store.items import NewItem, add_items
from steersman.store.projects import Project, create_project, find_project
from steersman.studio.app import create_app
from steersman.studio.settings import StudioSettings


class Served:
    """A studio on a port of this machine. Its store is open to the test too."""

    def __init__(self, url: str, settings: StudioSettings | None = None) -> None:
        self.settings = settings or StudioSettings(requests=(5000, 1000.0), attempts=(1000, 100.0))
        self.app: FastAPI = create_app(url, self.settings)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="error", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    @property
    def database(self) -> Database:
        return self.app.state.studio.database

    def project(self, name: str, **more: Any) -> Project:
        return create_project(self.database, name, **more)

    def invite(self, role: str = "labeller", project: str | None = "helpful") -> str:
        """The link that an invited person opens."""
        with self.database.write() as connection:
            found = None if project is None else find_project(self.database, project)
            return f"{self.address}/join/{make_invite(connection, role, found=found)}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need_browser(), args=QUIET)
        yield browser
        browser.close()


def join(page: Page, link: str, name: str = "Ann", *, password: str = "") -> None:
    """Follow an invite's link as somebody new."""
    page.goto(link)
    page.get_by_label("Your name").fill(name)
    if password:
        page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/")


def pair(prompt: str | Prompt, first: str, second: str, **more: Any) -> NewItem:
    return task("pair", prompt, first, second, **more)


def task(kind: str, prompt: str | Prompt, *answers: str, **more: Any) -> NewItem:
    asked = prompt if isinstance(prompt, Prompt) else Prompt((Message("user", prompt),))
    completions = tuple(Completion(text, model=f"policy-{i}") for i, text in enumerate(answers))
    return NewItem(Content(kind, asked, completions), **{"overlap": 1, **more})


def put(project: Project, *items: NewItem) -> None:
    """Tasks, handed out in this order."""
    ordered = [
        NewItem(one.content, one.round, one.overlap, float(i), one.reason, one.gold) for i, one in enumerate(items)
    ]
    add_items(project, ordered)
