"""A studio that really serves, and real browsers that visit it: Debian's Chromium, driven by Playwright."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        self.settings = settings or StudioSettings(
            requests=(5000, 1000.0), attempts=(1000, 100.0), allowed=("127.0.0.1",)
        )
        self.ending = ExitStack()  # what else stops with it
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
        self.ending.close()


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


class Judge:
    """Somebody on the labelling page."""

    def __init__(self, page: Page, served: Served, project: str = "helpful") -> None:
        self.page, self.served, self.project = page, served, project

    def open(self) -> "Judge":
        """The page of the project, past its first page."""
        self.page.goto(f"{self.served.address}/projects/{self.project}/label")
        self.settle()
        if self.page.locator(".welcome").count():
            self.page.get_by_role("button", name="Start").click()
            self.page.wait_for_selector(".welcome", state="detached")
            self.settle()
        return self

    def settle(self, but: str | None = None) -> None:
        """Wait until a task, or another one than `but`, is on the screen, or a panel that says why there is none."""
        self.page.wait_for_function(
            "but => { const task = document.getElementById('task');"
            " return task.getAttribute('aria-busy') === 'false' && (task.dataset.task ?? '') !== (but ?? '-'); }",
            arg=but,
        )

    @property
    def task(self) -> str:
        """The id of the task on the screen; "" for none."""
        return self.page.evaluate("document.getElementById('task').dataset.task ?? ''")

    @property
    def prompt(self) -> str:
        return self.page.locator("#task .prompt .turn .prose").last.inner_text()

    @property
    def answers(self) -> list[str]:
        return self.page.locator("#task .answer-text").all_inner_texts()

    @property
    def said(self) -> str:
        """What the page's short message says."""
        return self.page.locator("#toasts").inner_text()

    def press(self, *keys: str) -> None:
        """Keys, the last of which ends the task."""
        before = self.task
        for key in keys:
            self.page.keyboard.press(key)
        self.settle(but=before)

    def tap(self, name: str) -> None:
        """A button that ends the task, as a finger or a mouse presses it."""
        before = self.task
        button = self.page.locator("#bar").get_by_role("button", name=name, exact=True)
        button.tap() if self.touches else button.click()
        self.settle(but=before)

    @property
    def touches(self) -> bool:
        return self.page.evaluate("navigator.maxTouchPoints > 0")

    @property
    def waiting(self) -> int:
        return self.page.evaluate(
            "Object.keys(localStorage).filter(name => name.startsWith('steersman:outbox:')).length"
        )

    def all_sent(self) -> None:
        self.page.wait_for_function(
            "() => !Object.keys(localStorage).some(name => name.startsWith('steersman:outbox:'))", timeout=60000
        )
