"""Keys, sizes, numbers and times: whatever clients do, each gets a proper status, and the server goes on."""

import asyncio
import json
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from serving import WEIGHTS_KEY, running

from steersman.errors import UsageError
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions, read_keys
from steersman.serve.run import how_to_reach, take_port

HELLO = [{"role": "user", "content": "What are the benefits of exercise?"}]
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LONG = {"model": "tiny", "messages": HELLO, "max_tokens": 200, "ignore_eos": True}


@pytest.fixture
def start(new_language):
    """Start a server of one small model with these limits."""

    def begin(*, rows=2, length=None, **options):
        models = ServedModels({"tiny": new_language(rows=rows, length=length)}, {})
        return running(models, ServeOptions(port=0, **options))

    return begin


def idle(server):
    live = server.state.models.languages["tiny"].live
    return not (live.running or live.waiting or server.state.answers.open)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def works(server):
    made = server.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    return 1 <= made.usage.completion_tokens <= 2


def test_of_a_thousand_requests_at_once_some_are_answered_and_the_others_refused(start):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2}

    async def flood(address):
        limits = httpx2.Limits(max_connections=1000)
        async with httpx2.AsyncClient(limits=limits, timeout=300) as client:
            asked = [client.post(f"{address}/v1/chat/completions", json=body) for _ in range(1000)]
            return await asyncio.gather(*asked)

    with start(waiting=6) as server:
        replies = asyncio.run(flood(server.address))
        counts = Counter(one.status_code for one in replies)
        assert set(counts) == {200, 429}
        assert counts[200] >= 8
        refused = next(one for one in replies if one.status_code == 429)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert refused.headers["retry-after"] == "1"
        until(lambda: idle(server))
        assert works(server)


def test_a_client_that_hangs_up_frees_its_row(start):
    with start(rows=1) as server:
        parts = urlsplit(server.address)
        for stream in (True, False):
            body = json.dumps({**LONG, "stream": stream}).encode()
            head = f"{POST}Content-Length: {len(body)}\r\n\r\n"
            with socket.create_connection((parts.hostname, parts.port)) as wire:
                wire.sendall(head.encode() + body)
                if stream:
                    assert wire.recv(100).startswith(b"HTTP/1.1 200")
                until(lambda: server.state.models.languages["tiny"].live.running == 1)
            until(lambda: idle(server))
        assert server.state.worker.failures == 0
        assert works(server)


def test_a_huge_body_is_refused_before_it_has_come(start):
    with start(max_body=5000) as server:
        parts = urlsplit(server.address)
        with socket.create_connection((parts.hostname, parts.port)) as wire:
            wire.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1073741824\r\n\r\n{"
            )
            assert wire.recv(4000).startswith(b"HTTP/1.1 413")
        # without a length, when too much has come
        chunks = (b" " * 1000 for _ in range(100))
        headers = {"content-type": "application/json"}
        reply = httpx2.post(f"{server.address}/v1/chat/completions", content=chunks, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
        assert works(server)


def test_a_body_that_does_not_come_is_given_up(start):
    with start(body_time=0.3) as server:
        parts = urlsplit(server.address)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as wire:
            wire.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            assert wire.recv(4000).startswith(b"HTTP/1.1 408")


def test_an_answer_that_takes_too_long_is_cut_off(start):
    with start(answer_time=0.05) as server:
        with pytest.raises(openai.InternalServerError) as late:
            server.client.chat.completions.create(**{k: v for k, v in LONG.items() if k != "ignore_eos"}, n=20)
        assert (late.value.status_code, late.value.code) == (504, "timeout")
        with pytest.raises(openai.APIError, match="--answer-time sets the limit"):
            list(server.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=200, n=20, stream=True))
        until(lambda: idle(server))


def test_a_model_that_fails_is_an_error_of_these_requests_alone(start):
    with start() as server:
        live = server.state.models.languages["tiny"].live
        live._seat, kept = None, live._seat
        with pytest.raises(openai.InternalServerError, match="the model failed at this answer"):
            server.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=5)
        live._seat = kept
        assert server.state.worker.failures == 1
        assert works(server)


def test_keys_are_asked_for(start, tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\nfirst-key-of-this-server\n\n second-key-of-this-server \n")
    with start(api_keys=read_keys(path), weights_key=WEIGHTS_KEY) as server:
        ask = f"{server.address}/v1/models"
        assert httpx2.get(ask).status_code == 401
        for key, status in (("wrong", 401), (WEIGHTS_KEY, 401), ("second-key-of-this-server", 200)):
            reply = httpx2.get(ask, headers={"authorization": f"Bearer {key}", "host": "anything.example"})
            assert reply.status_code == status
        with pytest.raises(openai.AuthenticationError, match="another one") as refused:
            server.client.models.list()
        assert refused.value.code == "invalid_api_key"
        assert httpx2.get(f"{server.address}/health").status_code == 200
        assert httpx2.get(f"{server.address}/metrics").status_code == 401
        # nor do they open the routes for weights, which are closed without a key, too
        for key in ("second-key-of-this-server", "wrong", ""):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            assert httpx2.get(f"{server.address}/weight_info", headers=headers).status_code == 401
        headers = {"authorization": f"Bearer {WEIGHTS_KEY}"}
        assert httpx2.get(f"{server.address}/weight_info", headers=headers).json() == {"weight_version": None}


@pytest.mark.parametrize(
    ("text", "words"), [("", "holds no key"), ("short", "key 1"), ("a key with spaces in it", "key 1"), (None, "read")]
)
def test_keys_that_are_none(tmp_path, text, words):
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_keys(path)


def test_settings_that_would_let_everybody_in():
    with pytest.raises(UsageError, match="no API keys"):
        ServeOptions(host="0.0.0.0")
    with pytest.raises(UsageError, match="a key of its own"):
        ServeOptions(api_keys=(WEIGHTS_KEY,), weights_key=WEIGHTS_KEY)


def test_a_port_in_use_and_an_address_of_others():
    with take_port("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UsageError, match="in use by another program; choose another with --port"):
            take_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UsageError, match="cannot be taken"):
        take_port("192.0.2.1", 0)
    with pytest.raises(UsageError, match="no address"):
        take_port("no such host", 0)


def test_it_says_how_it_is_reached(new_language):
    models = ServedModels({"tiny": new_language()}, {})
    lines = how_to_reach(models, "http://127.0.0.1:8000", ServeOptions())
    assert lines[1] == "  as a judge: judge.model=http://127.0.0.1:8000/v1#tiny 'judge.endpoint.allow=[\"127.0.0.1\"]'"
    keyed = how_to_reach(models, "http://127.0.0.1:8000", ServeOptions(api_keys=("k" * 20,)))
    assert "judge.endpoint.token_env=STEERSMAN_KEY" in keyed[1]
    assert "k" * 20 not in "\n".join(keyed)
