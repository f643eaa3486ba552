"""The part of the Hugging Face hub's HTTP API that an upload uses, as a real server on the loopback address:
repositories, the check of a card, the batch API of Git LFS with its upload, and commits."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

SHA = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_writer"
_REPO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/main)?/?")
_WORK = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit)/main")
_BATCH = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class HubRepo:
    kind: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    message: str = ""


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repos: dict[str, HubRepo] = {}
        self.objects: dict[str, bytes] = {}
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def _reply(self, status: int, content: Any, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _may(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._reply(401, {"error": "Invalid credentials"}, X_Error_Message="Invalid credentials")
        return False

    def do_GET(self) -> None:
        self.server.seen.append(f"GET {self.path}")
        found = _REPO.fullmatch(self.path.partition("?")[0])
        repo = self.server.repos.get(found[2]) if found and self._may() else None
        if found is None or repo is None:
            if found is None or self.headers.get("Authorization") == f"Bearer {TOKEN}":
                self._reply(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        self._reply(200, {"id": found[2], "private": repo.private, "sha": SHA, "siblings": [], "tags": []})

    def do_PUT(self) -> None:
        self.server.objects[self.path.rpartition("/")[2]] = self._body()
        self._reply(200, {})

    def do_POST(self) -> None:
        self.server.seen.append(f"POST {self.path}")
        body = self._body()
        if not self._may():
            return None
        if self.path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private", asked.get("visibility") == "private")
            self.server.repos[name] = HubRepo(asked.get("type") or "model", bool(private))
            return self._reply(200, {"url": f"{self.server.url}/{name}", "id": name})
        if _BATCH.fullmatch(self.path):
            return self._batch(json.loads(body))
        work = _WORK.fullmatch(self.path.partition("?")[0])
        assert work is not None, self.path
        if work[3] == "preupload":
            return self._modes(json.loads(body))
        return self._commit(work[2], body)

    def _validate(self, content: str) -> None:
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        data = yaml.safe_load(found[1]) if found else None
        if not isinstance(data, dict) or not isinstance(data.get("license", ""), str):
            return self._reply(400, {"errors": [{"message": '"license" must be a string'}], "warnings": []})
        return self._reply(200, {"errors": [], "warnings": []})

    def _modes(self, asked: dict[str, Any]) -> None:
        """Weights and rows of data go by Git LFS, the other files into the commit itself."""
        large = (".safetensors", ".jsonl", ".gguf")
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(large) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for one in asked["files"]
        ]
        self._reply(200, {"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}},
            }
            for one in asked["objects"]
        ]
        self._reply(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        repo = self.server.repos[name]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repo.message = value["summary"]
            elif entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repo.files[value["path"]] = self.server.objects[value["oid"]]
        self._reply(200, {"commitUrl": f"{self.server.url}/{name}/commit/{SHA}", "commitOid": SHA, "success": True})


@contextmanager
def hub_server() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
