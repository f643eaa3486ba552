"""A real reward service in a thread, on the loopback address, that can be told to misbehave. Its reward is the answer's
length."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Moods = Callable[[int], str]
"""How the n-th request (from 0) is treated; see `MoodyHandler`."""


LONGEST = 120.0
"""Seconds that any wait may take, however busy the machine is."""


class MoodyServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, moods: Moods) -> None:
        super().__init__(("127.0.0.1", 0), MoodyHandler)
        self.moods = moods
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.answered: list[str] = []
        """The id of each item that was scored, as often as it was."""
        self.open, self.most_open = 0, 0
        self.gate = threading.Event()
        """What a request in the mood "gate" waits for."""

    def wait_until(self, happened: Callable[["MoodyServer"], object]) -> None:
        """Waits for what other threads do. The limit only ends a test that would otherwise hang."""
        deadline = time.monotonic() + LONGEST
        while not happened(self):
            assert time.monotonic() < deadline, f"not within {LONGEST} s"
            time.sleep(0.005)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/score"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is part of the test."""


class MoodyHandler(BaseHTTPRequestHandler):
    server: MoodyServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append({"body": body, "headers": dict(self.headers), "time": time.monotonic()})
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        try:
            self._answer(body["items"], self.server.moods(number))
        finally:
            with self.server.lock:
                self.server.open -= 1

    def _answer(self, items: list[dict[str, Any]], mood: str) -> None:
        mood, _, more = mood.partition(" ")
        scores: list[Any] = [float(len(item["answer"])) for item in items]
        if mood == "status":
            status, _, after = more.partition(" ")
            return self._send(b'{"error": "not now"}', int(status), {"Retry-After": after} if after else {})
        if mood == "redirect":
            return self._send(b"", 302, {"Location": more})
        if mood == "echo":
            asked = f"{self.path} {self.headers.get('Authorization')}"
            return self._send(f"no such key: {asked}".encode(), int(more))
        if mood == "gate":
            self.server.gate.wait(LONGEST)
        if mood == "hang":
            time.sleep(float(more))
        if mood == "says":
            return self._send(more.encode())
        if mood == "drop":
            return self.connection.close()
        if mood == "drip":
            return self._drip(float(more))
        if mood == "short":
            scores = scores[:-1]
        if mood == "ids":
            scores = [
                {"id": i["id"], "score": s, "parts": {"n": s}, "note": "x"} for i, s in zip(items, scores, strict=True)
            ]
            scores.reverse()
        if mood == "wrong-ids":
            scores = [{"id": "1", "score": s} for s in scores]
        sent = json.dumps({"scores": scores}).encode()
        if mood == "cut":
            return self._send(sent[: len(sent) // 2], length=len(sent))
        if mood == "cut-silently":
            return self._send(sent[: len(sent) // 2], length=None)
        with self.server.lock:
            self.server.answered += [item["id"] for item in items]
        return self._send(sent)

    def _send(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, length: int | None = -1
    ) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, seconds: float) -> None:
        """A byte now and then, so that no single wait is long."""
        self.send_response(200)
        self.end_headers()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.wfile.write(b" ")
            time.sleep(0.02)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def moody_server(moods: Moods = lambda number: "well") -> Iterator[MoodyServer]:
    server = MoodyServer(moods)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
