"""One request and its reply: where it may go, and a reply that is not whole is none."""

import http.client
import ipaddress
import socket
import threading
from types import SimpleNamespace

import pytest
from moody_server import moody_server

from steersman.errors import UsageError
from steersman.reward import exchange
from steersman.reward.exchange import Reply, checked_addresses, is_public, parse_url, post

BODY = b'{"items": [{"id": "1", "answer": "abc"}]}'
HERE = ("127.0.0.1",)


def test_a_reply_comes_whole_with_its_status_and_its_wish_to_wait():
    with moody_server(lambda number: "status 503 7" if number else "well") as server:
        place = parse_url(server.url, HERE)
        assert post(place, BODY, {}, timeout=5.0) == Reply(200, "", b'{"scores": [3.0]}')
        assert post(place, BODY, {}, timeout=5.0) == Reply(503, "7", b'{"error": "not now"}')
        assert server.requests[0]["headers"]["Content-Type"] == "application/json"
        assert server.requests[0]["headers"]["Connection"] == "close"


def test_a_reply_that_ends_before_its_length_is_no_reply():
    with moody_server(lambda number: "cut") as server, pytest.raises(http.client.IncompleteRead):
        post(parse_url(server.url, HERE), BODY, {}, timeout=5.0)


def test_a_reply_may_be_as_long_as_the_limit_and_no_longer(monkeypatch):
    assert exchange.MAX_BYTES == 64 * 1024**2
    with moody_server(lambda number: "well") as server:
        place = parse_url(server.url, HERE)
        monkeypatch.setattr(exchange, "MAX_BYTES", len(b'{"scores": [3.0]}'))
        assert post(place, BODY, {}, timeout=5.0).status == 200
        monkeypatch.setattr(exchange, "MAX_BYTES", len(b'{"scores": [3.0]}') - 1)
        with pytest.raises(http.client.HTTPException, match="more than 16 bytes"):
            post(place, BODY, {}, timeout=5.0)


def test_a_reply_that_takes_too_long_is_a_timeout():
    with moody_server(lambda number: "hang 1") as server, pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        post(parse_url(server.url, HERE), BODY, {}, timeout=0.1)


def test_the_first_address_that_answers_is_used_and_the_last_failure_is_told():
    with moody_server(lambda number: "well") as server:
        port = server.server_address[1]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = taken.getsockname()[1]
        dead, alive = (socket.AF_INET, ("127.0.0.1", nobody)), (socket.AF_INET, ("127.0.0.1", port))
        for addresses in ([alive, dead], [dead, alive]):
            wire = exchange._connect(addresses, exchange.time.monotonic() + 5)
            assert wire.getpeername()[1] == port
            assert 4 < (wire.gettimeout() or 0) <= 5
            wire.close()
        with pytest.raises(ConnectionRefusedError):
            exchange._connect([dead], exchange.time.monotonic() + 5)
        with pytest.raises(OSError, match="no address"):
            exchange._connect([], exchange.time.monotonic() + 5)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "encrypted"),
    [
        ("http://a.example", "a.example", 80, "/", False),
        ("https://a.example", "a.example", 443, "/", True),
        ("https://a.example:8443/score?x=1", "a.example", 8443, "/score?x=1", True),
        ("http://[::1]:80/a", "::1", 80, "/a", False),
    ],
)
def test_a_url_is_taken_apart(url, host, port, path, encrypted):
    place = parse_url(url, ["10.0.0.1/8"])
    assert (place.host, place.port, place.path, place.encrypted) == (host, port, path, encrypted)
    assert place.allowed == (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://me@a.example/", "no name or password"),
        ("http://:secret@a.example/", "no name or password"),
        ("http://a.example:99999/", "no usable port"),
        ("ftp://a.example/", "the URL of a service is http"),
        ("http:///score", "the URL of a service is http"),
    ],
)
def test_urls_that_cannot_be_meant_are_refused(url, match):
    with pytest.raises(UsageError, match=match):
        parse_url(url, [])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("2001:4860:4860::8888", True),
        ("::1", False),
        ("ff02::1", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:127.0.0.1", False),
        # 6to4 and the translation prefix carry an IPv4 address: 7f00:1 is 127.0.0.1, 808:808 is 8.8.8.8
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        # Teredo hides its client's address in its last bits
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
    ],
)
def test_what_is_on_the_public_internet(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


def resolving_to(monkeypatch, *addresses):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_one_address_that_is_not_public_refuses_the_place(monkeypatch):
    resolving_to(monkeypatch, "8.8.8.8", "10.0.0.1", "8.8.8.8")
    with pytest.raises(UsageError, match=r'10\.0\.0\.1, which is not on the public internet.*allow=\["10\.0\.0\.1"\]'):
        checked_addresses(parse_url("https://a.example", []), secret=False)
    allowed = checked_addresses(parse_url("https://a.example", ["10.0.0.0/8"]), secret=False)
    assert [address[0] for _, address in allowed] == ["8.8.8.8", "10.0.0.1"], "each once, in order"


def test_a_secret_goes_unencrypted_to_allowed_addresses_only(monkeypatch):
    resolving_to(monkeypatch, "8.8.8.8")
    with pytest.raises(UsageError, match="not encrypted"):
        checked_addresses(parse_url("http://a.example", []), secret=True)
    assert checked_addresses(parse_url("http://a.example", []), secret=False)
    assert checked_addresses(parse_url("https://a.example", []), secret=True)
    assert checked_addresses(parse_url("http://a.example", ["8.8.8.8"]), secret=True)


class Unanswered(socket.socket):
    """A socket that nobody answers: it takes all its time to find out, and remembers how long it may wait."""

    def __init__(self, clock: list[float], waits: list[float], answers: bool) -> None:
        super().__init__()
        self.clock, self.waits, self.answers = clock, waits, answers

    def settimeout(self, seconds: float) -> None:
        self.waits.append(seconds)

    def connect(self, address: object) -> None:
        if not self.answers:
            self.clock[0] += self.waits[-1]
            raise TimeoutError("nobody")


def test_the_time_that_is_left_is_shared_out_among_the_addresses_that_are_left(monkeypatch):
    clock, waits = [100.0], []
    monkeypatch.setattr(exchange.time, "monotonic", lambda: clock[0])
    made = [Unanswered(clock, waits, answered) for answered in (False, False, True)]
    sockets = iter(made)
    monkeypatch.setattr(exchange, "socket", SimpleNamespace(socket=lambda *_: next(sockets), SOCK_STREAM=1))
    exchange._connect([(socket.AF_INET, ("a", 1))] * 3, 106.0).close()
    assert [one.fileno() for one in made] == [-1] * 3, "all are closed"
    # 6 s for three, then 4 s for two, then 2 s for one, and what is left is for the talk
    assert waits == [2.0, 2.0, 2.0, 2.0]


def test_after_the_deadline_a_moment_is_left_and_no_less_than_none(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(exchange.time, "monotonic", lambda: 10.0)
    late = Unanswered([0.0], waits, True)
    monkeypatch.setattr(exchange, "socket", SimpleNamespace(socket=lambda *_: late, SOCK_STREAM=1))
    exchange._connect([(socket.AF_INET, ("a", 1))], 5.0).close()
    assert waits == [0.001, 0.001]


def test_nothing_is_left_running_after_a_reply():
    with moody_server(lambda number: "well") as server:
        before = {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
        post(parse_url(server.url, HERE), BODY, {}, timeout=60.0)
        left = [
            thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread not in before
        ]
        for thread in left:
            thread.join(timeout=50.0)
        assert not any(thread.is_alive() for thread in left)


def test_what_a_service_repeats_is_shown_without_the_secrets_of_its_address(monkeypatch):
    monkeypatch.setenv("PASS_WORD", "open sesame")
    place = parse_url("http://127.0.0.1/score?api_key=abc%20def&token=${PASS_WORD}", [])
    said = place.without_secrets("abc%20def, abc def, open sesame and open%20sesame")
    assert said == "***, ***, *** and ***"
    monkeypatch.delenv("PASS_WORD")
    with pytest.raises(UsageError, match="the environment has no PASS_WORD; set it"):
        parse_url("http://127.0.0.1/${PASS_WORD}", [])
