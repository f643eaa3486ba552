"""A real endpoint in a thread, on the loopback address, that speaks the OpenAI API and can be told to misbehave.

It judges by length: of two answers between their marks it chooses the longer with 0.8, or grades by a function.
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Moods = Callable[[int], str]
LONGEST = 120.0
_ANSWERS = re.compile(r"=== answer A (\w+) ===\n(.*?)\n=== answer B \1 ===\n(.*?)\n=== end \1 ===", re.DOTALL)


class OpenAiServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, moods: Moods) -> None:
        super().__init__(("127.0.0.1", 0), OpenAiHandler)
        self.moods = moods
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.answered: list[str] = []
        """The content of each request that got a good reply, as often as it did."""
        self.open = self.most_open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is part of the test."""


def prefers(content: str) -> float:
    """The probability of A: 0.8 if the first answer is the longer, 0.2 if it is the shorter."""
    found = _ANSWERS.search(content)
    if found is None:
        return 0.5
    first, second = len(found[2]), len(found[3])
    return 0.5 if first == second else 0.8 if first > second else 0.2


class OpenAiHandler(BaseHTTPRequestHandler):
    server: OpenAiServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            number = len(server.requests)
            server.requests.append(
                {"body": body, "headers": dict(self.headers), "path": self.path, "time": time.monotonic()}
            )
            server.open += 1
            server.most_open = max(server.most_open, server.open)
        try:
            self._reply(body, server.moods(number))
        finally:
            with server.lock:
                server.open -= 1

    def _reply(self, body: dict[str, Any], mood: str) -> None:
        mood, _, more = mood.partition(" ")
        if mood == "status":
            status, _, after = more.partition(" ")
            return self._send(
                b'{"error": {"message": "not now"}}', int(status), {"Retry-After": after} if after else {}
            )
        if mood == "refuses":
            if more in json.dumps(body):
                said = json.dumps({"error": {"message": f"unsupported parameter: {more}"}}).encode()
                return self._send(said, 400)
            mood = "well"
        if mood == "hang":
            time.sleep(float(more))
        if mood == "drop":
            return self.connection.close()
        if mood == "says":
            return self._send(more.encode())
        content = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        sent = json.dumps(self._good(body, content, mood, more)).encode()
        if mood == "cut":
            return self._send(sent[: len(sent) // 2], length=len(sent))
        if mood == "cut-silently":
            return self._send(sent[: len(sent) // 2], length=None)
        if mood in ("stream", "stream-cut"):
            return self._stream(body, content, cut=mood == "stream-cut")
        if mood != "hang":  # nobody may be listening any more
            with self.server.lock:
                self.server.answered.append(content)
        return self._send(sent)

    def _good(self, body: dict[str, Any], content: str, mood: str, more: str) -> dict[str, Any]:
        share = prefers(content)
        tops = {"A": math.log(share), "B": math.log(1 - share)}
        chosen = "A" if share >= 0.5 else "B"
        text = more if mood == "text" else chosen
        usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if "response_format" in body:
            text = json.dumps({"choice": text})
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": text}
            if body.get("logprobs") and mood not in ("text", "silent"):
                choice["logprobs"] = _chat_form(tops, chosen, more if mood == "form" else "")
        else:
            choice["text"] = text
            if body.get("logprobs") and mood not in ("text", "silent"):
                choice["logprobs"] = {"tokens": [chosen], "token_logprobs": [tops[chosen]], "top_logprobs": [tops]}
        return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}

    def _stream(self, body: dict[str, Any], content: str, *, cut: bool) -> None:
        whole = self._good(body, content, "well", "")
        choice = whole["choices"][0]
        said = choice["message"]["content"]
        events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
        events += [{"choices": [{"delta": {"content": said}, "logprobs": choice.get("logprobs")}]}]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": whole["usage"]}]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        lines = lines[:2] if cut else [*lines, "data: [DONE]\n\n"]
        if not cut:
            with self.server.lock:
                self.server.answered.append(content)
        self._send("".join(lines).encode(), length=None)

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

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _chat_form(tops: dict[str, float], chosen: str, form: str) -> Any:
    """Log-probs in the form of this server: OpenAI's own if none is named."""
    listed = [{"token": token, "logprob": value, "bytes": None} for token, value in tops.items()]
    if form == "together":
        return {"tokens": [chosen], "token_logprobs": [tops[chosen]], "top_logprobs": [tops]}
    if form == "bare":
        spaced = [{"token": f" {token}", "logprob": value} for token, value in tops.items()]
        return [{"token": f" {chosen}", "logprob": tops[chosen], "top_logprobs": spaced}]
    if form == "probs":
        shares = [{"tok_str": token, "prob": math.exp(value)} for token, value in tops.items()]
        return [{"content": chosen, "probs": shares}]
    if form == "null":
        return {"content": None}
    return {"content": [{"token": chosen, "logprob": tops[chosen], "top_logprobs": listed}]}


@contextmanager
def openai_server(moods: Moods = lambda number: "well") -> Iterator[OpenAiServer]:
    server = OpenAiServer(moods)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
