"""A studio's server in a process of its own, which can be killed; and labellers that ask it over HTTP."""

import asyncio
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from steersman.store.database import Database
from steersman.store.entry import make_token
from steersman.store.people import add_person, join_project
from steersman.store.projects import Project


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """`steersman studio serve` over a store, at a port that it keeps when it is started again."""

    def __init__(self, store: str, folder: Path, *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = [sys.executable, "-m", "steersman", "studio", "serve", "--store", store, "--port", str(self.port)]
        self._words += ["--empty", *more]
        self._log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._words, stdout=log, stderr=log, env=dict(os.environ))
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx2.get(f"{self.url}/sign-in", timeout=5)
                return
            except httpx2.TransportError:
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < deadline, f"the server did not answer: {self.said()}"
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def labellers_in(database: Database, project: Project, count: int) -> list[str]:
    """So many labellers, each as an API token."""
    tokens: list[str] = []
    with database.write() as connection:
        for number in range(count):
            person = add_person(connection, f"Labeller {number}")
            join_project(connection, project, person.id, "labeller")
            tokens.append(make_token(connection, person.id, "load", "label")[1])
    return tokens


@dataclass
class Load:
    """What labellers sent and were told. `acknowledged`: the number of each key's event, and whether it counts."""

    acknowledged: dict[str, tuple[int, bool]] = field(default_factory=dict[str, tuple[int, bool]])
    seconds: list[float] = field(default_factory=list[float])
    faults: list[str] = field(default_factory=list[str])
    repeated: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))]


async def label_for(url: str, project: str, tokens: list[str], seconds: float, load: Load) -> None:
    """All labellers label until the time is over; then each ends what it had begun. A submission without a reply is
    sent again under its key."""
    until = time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=len(tokens))
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        await asyncio.gather(*(_labeller(http, project, token, until, load) for token in tokens))


async def _labeller(http: httpx2.AsyncClient, project: str, token: str, until: float, load: Load) -> None:
    rng, seen = random.Random(token), 0
    while time.monotonic() < until:
        reply = await _asked(http, "GET", f"/api/projects/{project}/tasks/next?ahead=2", token, load)
        if reply.status_code != 200:
            load.faults.append(f"{reply.status_code} {reply.text[:200]}")
            return
        if not (tasks := reply.json()["tasks"]):
            return
        for task in tasks:
            seen += 1
            key = uuid.uuid4().hex
            event = {"key": key, "kind": "label", "task": task["id"], "choice": rng.choice(["first", "second", "tie"])}
            reply = await _asked(http, "POST", f"/api/projects/{project}/events", token, load, event)
            if reply.status_code != 200:
                load.faults.append(f"{reply.status_code} {reply.text[:200]}")
                return
            said = reply.json()
            load.acknowledged[key] = (said["event"], said["counts"])


async def _asked(
    http: httpx2.AsyncClient, method: str, path: str, token: str, load: Load, body: dict[str, Any] | None = None
) -> httpx2.Response:
    while True:
        began = time.monotonic()
        try:
            reply = await http.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
        except httpx2.TransportError:
            load.repeated += 1
            await asyncio.sleep(0.1)
            continue
        load.seconds.append(time.monotonic() - began)
        return reply
