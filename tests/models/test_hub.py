"""A wrong model name is told within seconds, with what was looked for and where."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commandline import call
from huggingface_hub import constants

from steersman.errors import ModelError
from steersman.models import hub


class Hub(BaseHTTPRequestHandler):
    """Has `there`, and no other model."""

    def do_GET(self):
        there = self.path.startswith("/api/models/there")
        self.send_response(403 if there else 404)
        if not there:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def online(monkeypatch, tmp_path):
    """The hub's address is given by the test; nothing is cached."""
    hub.refuse_unknown.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    yield lambda address: monkeypatch.setattr(constants, "ENDPOINT", address)
    hub.refuse_unknown.cache_clear()


@pytest.fixture
def answering():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def hanging():
    """A server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_name_that_the_hub_does_not_have_is_told(online, answering, tmp_path):
    online(answering)
    words = rf"no model 'gpt-typo' was found: .*no folder .*cache {tmp_path}/cache, and {answering} has no such model"
    with pytest.raises(ModelError, match=words):
        hub.refuse_unknown("gpt-typo")
    hub.refuse_unknown("there")
    with pytest.raises(ModelError, match="it can be no name of the hub"):
        hub.refuse_unknown("not a name")


def test_a_hub_that_does_not_answer_is_waited_for_shortly(online, hanging, tmp_path, monkeypatch, capfd):
    online(hanging)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi", "completion": "Hello"}\n')
    assert call(["sft", "--model", "gpt-typo", "--data", "rows.jsonl", "--out", "run", "--device", "cpu"]) == 4
    said = capfd.readouterr().err
    assert f"no folder of this name in {tmp_path}" in said
    assert f"{hanging} could not be asked within 0.3 s" in said


def test_offline_the_hub_is_not_asked_and_a_cached_model_is_found(monkeypatch, tmp_path, online):
    online("http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="The hub was not asked, since HF_HUB_OFFLINE is set"):
        hub.refuse_unknown("gpt-typo")
    place = tmp_path / "cache" / "models--gpt-typo"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots" / "abc").mkdir(parents=True)
    (place / "snapshots" / "abc" / "config.json").write_text("{}")
    hub.refuse_unknown("gpt-typo")
