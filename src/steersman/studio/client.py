"""A client of the studio's API, for scripts: label, follow a project, import and export.

    with Client("http://127.0.0.1:8400", token, project="helpful") as studio:
        for task in studio.next_tasks(ahead=5):
            studio.label(task["id"], choice="first", strength=2)

Each submission has a key of its own and is sent again under it where no reply came, so it counts exactly once.
"""

import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from steersman.errors import ServiceError, UsageError

ATTEMPTS, FIRST_WAIT, LONGEST_WAIT = 6, 0.2, 10.0
_AGAIN = (429, 502, 503, 504)


class Client:
    """A project of a studio (or, without one, the studio), seen with an API token."""

    def __init__(self, url: str, token: str, *, project: str = "", timeout: float = 30.0, verify: bool = True) -> None:
        self.project = project
        self._http = httpx2.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=timeout, verify=verify
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def me(self) -> dict[str, Any]:
        """Whose token this is."""
        return self.ask("GET", "/api/me")

    def projects(self) -> list[dict[str, Any]]:
        return self.ask("GET", "/api/projects")

    def create_project(self, name: str, **said: Any) -> "Client":
        """A new project (title, guidelines, licence, attributes), as a client of it. The token's owner is an admin."""
        self.ask("POST", "/api/projects", json={"name": name, **said})
        return self.of(name)

    def of(self, project: str) -> "Client":
        """The same client, of another project."""
        other = Client.__new__(Client)
        other.project, other._http = project, self._http
        return other

    def describe(self) -> dict[str, Any]:
        """The project: title, guidelines, attributes, counts."""
        return self.ask("GET", self._at(""))

    def change(self, **said: Any) -> dict[str, Any]:
        """Change what is said of the project: title, guidelines, attributes, state ("open", "paused", "closed")."""
        return self.ask("PATCH", self._at(""), json=said)

    def next_tasks(self, *, ahead: int = 1, after: int | None = None) -> list[dict[str, Any]]:
        """The next tasks, held for the token's owner."""
        query = {"ahead": ahead} | ({} if after is None else {"after": after})
        return self.ask("GET", self._at("/tasks/next"), params=query)["tasks"]

    def label(self, task: int, **verdict: Any) -> dict[str, Any]:
        """Label a task: choice and strength, ranks, ratings, thumb, text or exchange, as its kind asks."""
        return self.submit({"kind": "label", "task": task, **verdict})

    def write(self, task: int, text: str, *, after: int | None = None, slot: int | None = None) -> dict[str, Any]:
        """Write to the project's model in a red-teaming task: its two answers, and the `exchange` that a label names. A
        conversation goes on `after` an exchange, with the answer in a slot."""
        said = {"key": uuid.uuid4().hex, "text": text, "after": after, "slot": slot}
        return self.ask("POST", self._at(f"/tasks/{task}/answers"), json=said)

    def skip(self, task: int, reason: str = "") -> dict[str, Any]:
        return self.submit({"kind": "skip", "task": task, "rationale": reason})

    def undo(self, task: int | None = None) -> dict[str, Any]:
        """Take back the last thing done, or the last one about a task."""
        return self.submit({"kind": "undo", "task": task})

    def submit(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """One submission, with a key of its own if it has none."""
        return self.ask("POST", self._at("/events"), json={"key": uuid.uuid4().hex, **event})

    def submit_all(self, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Submissions in their order; each has its own reply."""
        return self.ask("POST", self._at("/events/batch"), json=[{"key": uuid.uuid4().hex, **one} for one in events])

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """What happened in the project after an event's number."""
        return self.ask("GET", self._at("/events"), params={"after": after})

    def progress(self) -> dict[str, Any]:
        return self.ask("GET", self._at("/progress"))

    def quality(self) -> dict[str, Any]:
        """Agreement, annotators, biases, time, and the first doubtful items."""
        return self.ask("GET", self._at("/quality"))

    def invite(self, role: str = "labeller", *, days: float = 7.0) -> str:
        """A link that makes one person a member of the project."""
        return self.ask("POST", self._at("/invites"), json={"role": role, "days": days})["url"]

    def import_file(self, path: Path | str, **wishes: Any) -> dict[str, Any]:
        """Import a file: task, overlap, round, annotator, format, columns. Returns counts."""
        path = Path(path)
        with path.open("rb") as content:
            kept = self.ask("POST", self._at("/files"), files={"file": (path.name, content)}, attempts=1)
        return self.ask("POST", self._at("/imports"), json={"file": kept["file"], **wishes})

    def export(self, path: Path | str, *, to: str = "full") -> Path:
        """Write the project's labels to a file: .jsonl, .jsonl.gz or .parquet."""
        path = Path(path)
        ending = next((one for one in ("jsonl.gz", "parquet", "jsonl") if path.name.endswith(f".{one}")), None)
        if ending is None:
            raise UsageError(f"an export is written as .jsonl, .jsonl.gz or .parquet; seen {path.name}")
        aside = path.with_name(f".{path.name}.partial")
        query = {"to": to, "ending": ending}
        with self._http.stream("GET", self._at("/export"), params=query) as reply, aside.open("wb") as target:
            if reply.status_code != 200:
                reply.read()
                raise _error(reply)
            for chunk in reply.iter_bytes():
                target.write(chunk)
        return aside.replace(path)

    def ask(self, method: str, path: str, *, attempts: int = ATTEMPTS, **more: Any) -> Any:
        """One request and its reply, sent again where the studio could not be reached. A refusal is an error."""
        last = ""
        for attempt in range(attempts):
            if attempt:
                time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
            try:
                reply = self._http.request(method, path, **more)
            except httpx2.TransportError as error:
                last = f"{type(error).__name__}: {error}"
                continue
            if reply.status_code not in _AGAIN:
                if reply.status_code >= 400:
                    raise _error(reply)
                return reply.json() if reply.content else {}
            last = f"status {reply.status_code}"
        raise ServiceError(
            f"the studio at {self._http.base_url} gave no reply in {attempts} attempts; the last: {last}"
        )

    def _at(self, rest: str) -> str:
        if not self.project:
            raise UsageError("this needs a project: Client(url, token, project=NAME)")
        return f"/api/projects/{self.project}{rest}"


def _error(reply: httpx2.Response) -> Exception:
    try:
        message = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = reply.text[:200]
    kind = ServiceError if reply.status_code >= 500 else UsageError
    return kind(f"the studio refused {reply.request.method} {reply.request.url.path} ({reply.status_code}): {message}")
