"""A reward behind HTTP, asked of a real server that fails, hangs, cuts off, reorders and talks nonsense."""

import email.utils
import ipaddress
import itertools
import json
import random
import resource
import socket
import ssl
import threading
import time
from collections import Counter

import pytest
from moody_server import LONGEST, moody_server

from steersman.errors import DataError, ServiceError, SteersmanError, UsageError
from steersman.records import Message, Prompt
from steersman.reward import exchange, service
from steersman.reward.combined import CombinedScorer, WeightedScorer
from steersman.reward.function import FunctionScorer
from steersman.reward.http import HttpOptions, HttpScorer, parse_reply
from steersman.reward.length import LengthControlledScorer, Trend
from steersman.reward.scorer import Score, ahead_of
from steersman.reward.service import RetryableError, parse_retry_after
from steersman.runs.replies import Replies

PROMPT = Prompt(messages=(Message("system", "Be kind."), Message("user", "Say")), metadata={"answer": "4"})


def items(count, start=1):
    return [(PROMPT, "a" * i) for i in range(start, start + count)]


def scorer(server, remembered=None, said=None, **given):
    usual = {"batch_size": 4, "at_once": 3, "timeout": 5.0, "patience": 20.0, "allowed": ("127.0.0.1",), "token": None}
    url = server if isinstance(server, str) else server.url
    return HttpScorer(
        url,
        HttpOptions(**{**usual, **given}),
        remembered={} if remembered is None else remembered,
        notice=(said if said is not None else []).append,
        first_wait=0.005,
    )


def values(found):
    return [score.value for score in found]


def test_answers_go_out_in_batches_side_by_side_and_come_back_in_order():
    with moody_server(lambda number: f"hang {0.03 * (5 - number % 5)}") as server:
        assert values(scorer(server).score(items(18))) == [float(i) for i in range(1, 19)]
        assert sorted(len(request["body"]["items"]) for request in server.requests) == [2, 4, 4, 4, 4]
        assert 1 < server.most_open <= 3
        first = server.requests[0]["body"]["items"][0]
    assert {name: first[name] for name in ("prompt", "metadata")} == {"prompt": "Say", "metadata": {"answer": "4"}}
    assert first["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Say"}]


@pytest.mark.slow
def test_what_fills_a_request_is_sent_ahead_and_nothing_is_asked_twice():
    with moody_server(lambda number: "gate") as server:
        asked = scorer(server, timeout=LONGEST, patience=LONGEST)
        for item in items(10):
            asked.ahead()([item])
        asked.begin(items(3))
        assert not server.answered, "nobody waits for the service, which answers nothing yet"
        server.gate.set()
        server.wait_until(lambda server: len(server.answered) >= 8)
        assert values(asked.score(items(10))) == [float(i) for i in range(1, 11)]
        assert sorted(len(request["body"]["items"]) for request in server.requests) == [2, 4, 4]
        assert sorted(Counter(server.answered).values()) == [1] * 10


def test_what_failed_ahead_is_asked_again_as_it_was():
    said: list[str] = []
    with moody_server(lambda number: "status 503" if number == 0 else "well") as server:
        asked = scorer(server, said=said, at_once=1)
        asked.begin(items(5))
        # other answers in between, and in another order
        assert values(asked.score([*items(2, start=8), *items(5)])) == [8.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        keys = [request["headers"]["Idempotency-Key"] for request in server.requests]
    assert len(keys) == 3
    assert keys[0] == keys[1] != keys[2]
    with moody_server(lambda number: "status 401") as server:
        asked = scorer(server)
        asked.begin(items(4))
        with pytest.raises(ServiceError, match="status 401"):
            asked.score(items(4))


@pytest.mark.slow
def test_a_service_that_asks_for_a_rest_gets_it_ahead_too():
    with moody_server(lambda number: "status 429 1" if number == 0 else "well") as server:
        asked = scorer(server, batch_size=1, at_once=1)
        for item in items(6):
            asked.begin([item])
            server.wait_until(lambda server: server.requests and not server.open)
        assert len(server.requests) == 1, "after the first failure nothing more is sent ahead"
        assert values(asked.score(items(6))) == [float(i) for i in range(1, 7)]
        assert server.requests[1]["time"] - server.requests[0]["time"] >= 0.9
        assert len(server.requests) == 7
        asked.begin(items(1, start=9))
        assert values(asked.score(items(1, start=9))) == [9.0]


def test_no_more_requests_are_open_ahead_than_may_be():
    with moody_server(lambda number: "gate") as server:
        asked = scorer(server, batch_size=1, at_once=2, timeout=LONGEST, patience=LONGEST)
        for item in items(6):
            asked.begin([item])
        server.wait_until(lambda server: len(server.requests) >= 2)
        time.sleep(0.1)  # in which a third could come
        assert len(server.requests) == 2
        server.gate.set()
        assert values(asked.score(items(6))) == [float(i) for i in range(1, 7)]
        assert server.most_open == 2


def test_a_sum_tells_its_services_ahead_and_a_model_is_not_asked_early():
    with moody_server(lambda number: "well") as server:
        service, plain = (
            scorer(server, batch_size=1),
            FunctionScorer(lambda answers, **_: [0.0] * len(answers), name="none"),
        )
        both = CombinedScorer({"service": WeightedScorer(service, 1.0), "plain": WeightedScorer(plain, 1.0)})
        begin = ahead_of(LengthControlledScorer(both, Trend(0.0, 1.0, 0.0)))
        assert begin is not None
        begin(items(1))
        assert values(both.score(items(1))) == [1.0]
        assert len(server.requests) == 1
    assert ahead_of(plain) is None
    assert ahead_of(CombinedScorer({"plain": WeightedScorer(plain, 1.0)})) is None


def test_a_service_may_name_its_scores_and_answer_in_any_order():
    with moody_server(lambda number: "ids") as server:
        found = scorer(server).score(items(6))
    assert found == [Score(float(i), {"n": float(i)}, "x") for i in range(1, 7)]


def test_what_passes_is_asked_again_under_the_same_key_and_what_was_repeated_is_told():
    moods = ["status 503", "drop", "cut", "cut-silently", "status 429", "short", "wrong-ids", "says [1, 2]", "well"]
    said: list[str] = []
    with moody_server(lambda number: moods[number]) as server:
        assert values(scorer(server, said=said).score(items(3))) == [1.0, 2.0, 3.0]
        keys = {request["headers"]["Idempotency-Key"] for request in server.requests}
        assert (len(server.requests), len(keys)) == (9, 1)
    assert "8 requests had to be repeated" in said[0]


@pytest.mark.slow
def test_waits_double_and_a_service_may_ask_for_a_longer_one():
    with moody_server(lambda number: "status 503" if number < 6 else "well") as server:
        scorer(server).score(items(1))
        times = [request["time"] for request in server.requests]
    # Mean waits 5, 10, 20, 40, 80, 160 ms, each at least half of that.
    assert all(later - earlier >= 0.0025 * 2**i for i, (earlier, later) in enumerate(itertools.pairwise(times)))
    with moody_server(lambda number: "status 429 1" if number == 0 else "well") as server:
        began = time.monotonic()
        scorer(server).score(items(1))
        assert time.monotonic() - began >= 1.0


def test_a_wait_is_asked_for_in_seconds_or_as_a_date():
    assert parse_retry_after("7") == 7.0
    assert parse_retry_after(email.utils.formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert parse_retry_after(email.utils.formatdate(time.time() - 30, usegmt=True)) == 0.0
    assert parse_retry_after("soon") == parse_retry_after("") == parse_retry_after("-3") == 0.0


def test_a_wait_past_the_patience_ends_it_at_once():
    with moody_server(lambda number: "status 503 3600") as server:
        began = time.monotonic()
        with pytest.raises(ServiceError, match=r"1 attempts.*status 503"):
            scorer(server).score(items(1))
        assert time.monotonic() - began < LONGEST, "where it was asked to wait an hour"


@pytest.mark.parametrize("mood", [f"hang {2 * LONGEST}", f"drip {2 * LONGEST}"], ids=["hang", "drip"])
def test_a_request_that_hangs_or_drips_is_cut_off_in_time_and_asked_again(mood):
    said: list[str] = []
    with moody_server(lambda number: mood if number == 0 else "well") as server:
        began = time.monotonic()
        assert values(scorer(server, said=said, timeout=0.2).score(items(1))) == [1.0]
        assert time.monotonic() - began < LONGEST
    assert "no complete reply within 0.2 s" in said[0]


def test_an_outage_ends_with_its_own_exit_code_and_keeps_what_was_answered(tmp_path):
    with moody_server(lambda number: "well" if number < 2 else "status 500") as server:
        kept = Replies(tmp_path)
        with pytest.raises(ServiceError, match=r"no usable reply for 4 answers in \d+ attempts.*status 500") as ended:
            scorer(server, kept, at_once=1, patience=0.1).score(items(12))
        assert ended.value.exit_code == 9
        assert len(Replies(tmp_path)) == 8
    with moody_server() as again:
        # The same service elsewhere is another service; here it has come back at the same place.
        again.server_close()
    with pytest.raises(ServiceError, match="Connection"):
        scorer(again.url, patience=0.05).score(items(1))


@pytest.mark.parametrize(
    ("mood", "match"),
    [("status 401", "refuses the request with status 401.*not now"), ("redirect http://127.0.0.1:1/", "a redirect")],
)
def test_a_refusal_and_a_redirect_are_final(mood, match):
    with moody_server(lambda number: mood) as server:
        with pytest.raises(ServiceError, match=match):
            scorer(server).score(items(1))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (b"<html>", "without scores"),
        (b"[1]", "without scores"),
        (b'{"scores": [1]}', "1 scores for 2"),
        (b'{"scores": "ab"}', "str scores for 2"),
        (b'{"scores": [1, NaN]}', "no finite number: 'nan'"),
        (b'{"scores": [1, 1e999]}', "no finite number"),
        (b'{"scores": [1, ' + b"9" * 400 + b"]}", "no finite number"),
        (b'{"scores": [1, true]}', "no finite number: 'True'"),
        (b'{"scores": [1, "2"]}', "no finite number: '2'"),
        (b'{"scores": [1, null]}', "no finite number: 'None'"),
        (b'{"scores": [1, {"id": "a", "score": 2}]}', "ids are not those"),
        (b'{"scores": [{"id": "a", "score": 1}, {"id": "a", "score": 2}]}', "ids are not those"),
        (b'{"scores": [1, {"score": 2, "parts": {"x": Infinity}}]}', "no finite number: 'inf'"),
        (b'{"scores": [1, {"score": 2, "parts": [1]}]}', "parts of a score"),
        (b'{"scores": ' + b"[" * 100_000, "without scores"),
    ],
)
def test_a_nonsensical_reply_says_what_is_wrong(reply, match):
    with pytest.raises(Exception, match=match) as raised:
        parse_reply(reply, ["a", "b"])
    assert type(raised.value).__name__ == "RetryableError"


def test_no_answer_is_asked_twice_not_even_by_another_process(tmp_path):
    with moody_server() as server:
        first = scorer(server, Replies(tmp_path, 0))
        assert values(first.score([*items(5), *items(5)])) == [1.0, 2.0, 3.0, 4.0, 5.0] * 2
        first.score(items(5))
        # A kill while writing, and then the run goes on, with another number of processes.
        with (tmp_path / "replies-0.jsonl").open("a") as file:
            file.write('{"key": "half')
        assert values(scorer(server, Replies(tmp_path, 1)).score(items(8))) == [float(i) for i in range(1, 9)]
        again = Replies(tmp_path, 0)
        scorer(server, again).score(items(2, start=9))
        assert len(server.answered) == len(set(server.answered)) == 10
    assert len(Replies(tmp_path)) == 10


def test_other_metadata_or_another_service_is_another_question():
    known: dict = {}
    with moody_server() as server, moody_server() as other:
        scorer(server, known).score(items(1))
        scorer(server, known).score([(Prompt(messages=PROMPT.messages, metadata={"answer": "5"}), "a")])
        scorer(other, known).score(items(1))
        assert (len(server.answered), len(other.answered)) == (2, 1)


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path):
    replies = Replies(tmp_path)
    replies.update({"a": {"score": 1.0}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SteersmanError, match="could not be written"):
            replies.update({f"b{i}": {"score": 1.0} for i in range(400)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "replies-0.jsonl").read_text().count("\n") == len(Replies(tmp_path)) == len(replies) == 1


def test_twenty_per_cent_errors_hangs_and_nonsense_lose_double_and_reorder_nothing(tmp_path):
    draw = random.Random(5)
    share = lambda: draw.random()  # noqa: E731

    def moods(number):
        found = share()
        return "status 503" if found < 0.2 else "hang 0.4" if found < 0.25 else "says {}" if found < 0.27 else "well"

    wanted = [(PROMPT, "b" * (i % 37) + str(i)) for i in range(600)]
    with moody_server(moods) as server:
        found = scorer(server, Replies(tmp_path), timeout=0.15, at_once=8).score(wanted)
    assert values(found) == [float(len(answer)) for _, answer in wanted]
    assert len(Replies(tmp_path)) == 600


# Where a request may go.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://localhost:9/",
        "http://[::1]:9/",
        "http://[::ffff:127.0.0.1]:9/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[::127.0.0.1]/",
        "http://[::8.8.8.8]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[fec0::1]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[100::1]/",
        "http://[ff0e::1]/",
        "http://[2002:7f00:1::]/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://127.1/",
        "http://224.0.0.1/",
    ],
)
def test_what_is_not_on_the_public_internet_is_refused_unless_allowed(url):
    with pytest.raises(UsageError, match=r"not on the public internet.*scorer\.http\.allow"):
        scorer(url, allowed=())


def test_an_allowed_network_is_no_other_network():
    scorer("http://10.1.2.3/", allowed=("10.0.0.0/8",))
    with pytest.raises(UsageError, match=r"192\.168\.0\.1"):
        scorer("http://192.168.0.1/", allowed=("10.0.0.0/8",))


def test_public_addresses_are_open():
    for text in ("2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::"):
        assert exchange.is_public(ipaddress.ip_address(text))
    place = exchange.parse_url("https://8.8.8.8/x?y=1", ())
    assert exchange.checked_addresses(place, secret=True) == [(socket.AF_INET, ("8.8.8.8", 443))]
    assert (place.port, place.path, place.encrypted) == (443, "/x?y=1", True)


def resolving(monkeypatch, *answers):
    """getaddrinfo that gives one list of addresses after another, the last for ever."""
    left = list(answers)
    asked: list[str] = []

    def found(host, port, **_):
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(exchange.socket, "getaddrinfo", found)
    return asked


def test_one_private_address_among_public_ones_is_refused(monkeypatch):
    resolving(monkeypatch, ["8.8.8.8", "10.0.0.7"])
    with pytest.raises(UsageError, match=r"10\.0\.0\.7"):
        scorer("http://reward.example/", allowed=())


def test_a_name_that_turns_to_a_private_address_later_is_refused_before_anything_is_sent(monkeypatch):
    with moody_server() as server:
        port = server.server_address[1]
        resolving(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
        found = scorer(f"http://reward.example:{port}/", allowed=())
        with pytest.raises(UsageError, match="not on the public internet"):
            found.score(items(1))
        assert server.requests == []


def test_the_checked_address_is_the_one_that_is_connected_to(monkeypatch):
    """Each request resolves the name once, and connects to the address found then, under the given name."""
    with moody_server() as server:
        asked = resolving(monkeypatch, ["127.0.0.1"])
        port = server.server_address[1]
        assert values(scorer(f"http://reward.example:{port}/").score(items(1))) == [1.0]
        # once when the scorer was made and once for the request, which went to what was found then
        assert asked == ["reward.example"] * 2
        assert server.requests[0]["headers"]["Host"] == f"reward.example:{port}"


def test_a_name_that_is_not_known_yet_is_waited_for(monkeypatch):
    with moody_server() as server:
        calls: list[int] = []
        real = socket.getaddrinfo

        def found(host, port, **more):
            if host != "reward.example":
                return real(host, port, **more)
            calls.append(1)
            if len(calls) < 4:
                raise socket.gaierror(-3, "Temporary failure in name resolution")
            return real("127.0.0.1", port, **more)

        monkeypatch.setattr(exchange.socket, "getaddrinfo", found)
        assert values(scorer(f"http://reward.example:{server.server_address[1]}/").score(items(1))) == [1.0]


def test_a_token_travels_encrypted_or_to_an_allowed_address_only():
    with moody_server() as server:
        scorer(server, token="secret").score(items(1))
        assert server.requests[0]["headers"]["Authorization"] == "Bearer secret"
    with pytest.raises(UsageError, match="not encrypted"):
        scorer("http://8.8.8.8/", token="secret")
    scorer("https://8.8.8.8/", token="secret")


def test_a_service_that_cannot_prove_who_it_is_is_not_asked(tmp_path):
    """A certificate signed by nobody: the refusal is final and names the reason."""
    import subprocess

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run([*words, "-days", "2", "-subj", "/CN=127.0.0.1"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl program, to make a certificate")
    with moody_server() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with pytest.raises(ServiceError, match="could not be verified"):
            scorer(server.url.replace("http:", "https:")).score(items(1))
        assert server.requests == []


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://example.com/", "the URL of a service is http"),
        ("http:///path", "the URL of a service is http"),
        ("http://name:word@example.com/", "token_env"),
        ("http://127.0.0.1:x/", "no usable port"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, match):
    with pytest.raises(UsageError, match=match):
        scorer(url)


def test_an_allowed_address_that_is_none_is_refused():
    with pytest.raises(UsageError, match="expected addresses or networks"):
        scorer("http://127.0.0.1/", allowed=("my-host",))


def test_metadata_that_is_no_json_names_the_item():
    with moody_server() as server, pytest.raises(DataError, match="metadata of a prompt"):
        scorer(server).score([(Prompt(text="Say", metadata={"what": object()}), "a")])
    with moody_server() as server, pytest.raises(DataError, match="metadata of a prompt"):
        scorer(server).score([(Prompt(text="Say", metadata={"what": float("nan")}), "a")])


def test_no_items_ask_nothing():
    with moody_server() as server:
        assert scorer(server).score([]) == []
        assert server.requests == []


def test_half_a_character_in_an_answer_or_in_a_reply_is_no_trouble(tmp_path):
    """JSON can say what UTF-8 cannot."""
    with moody_server(lambda number: r'says {"scores": [{"score": 1.0, "note": "\ud83d"}]}') as server:
        found = scorer(server, Replies(tmp_path)).score([(PROMPT, "half \ud83d")])
        assert server.requests[0]["body"]["items"][0]["answer"] == "half \ud83d"
    assert found == [Score(1.0, {}, "\ud83d")]
    assert len(Replies(tmp_path)) == 1


def test_replies_are_plain_lines_of_json(tmp_path):
    Replies(tmp_path).update({"k": {"score": 1.0, "parts": {}, "note": ""}})
    assert json.loads((tmp_path / "replies-0.jsonl").read_text()) == {"key": "k", "score": 1.0, "parts": {}, "note": ""}


class Recorded(threading.Event):
    """An event that is waited for in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


def asked_in_vain(monkeypatch, times: int, chance: float) -> list[float]:
    """The waits of a request that fails so many times, before it is answered."""
    asked, over = scorer("http://127.0.0.1:1/", patience=1e9), Recorded()
    asked._service._first_wait = 20.0
    replies = iter([RetryableError("not now")] * times)

    def once(body: bytes, headers: dict[str, str]) -> exchange.Reply:
        failure = next(replies, None)
        if failure is not None:
            raise failure
        return exchange.Reply(200, "", b'{"scores": [1]}')

    asked._service.once = once  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(asked._service._random, "random", lambda: chance)
    asked._ask(dict(zip(["key"], items(1), strict=True)), over)
    return over.waits[1:]


def test_waits_double_up_to_a_minute_and_lie_around_their_mean(monkeypatch):
    # 20, 40, then 60 in place of 80 and 160; from half of that to half as much again
    assert asked_in_vain(monkeypatch, 4, 1.0) == [30.0, 60.0, 90.0, 90.0]
    assert asked_in_vain(monkeypatch, 4, 0.0) == [10.0, 20.0, 30.0, 30.0]


def test_an_outage_of_days_is_waited_out(monkeypatch):
    assert asked_in_vain(monkeypatch, 3000, 0.5)[-1] == 60.0


def test_the_reasons_of_repetitions_are_told_in_80_characters():
    asked = scorer("http://127.0.0.1:1/")
    said: list[str] = []
    asked._service._notice = said.append
    asked._service.once = lambda body, headers: (_ for _ in ()).throw(RetryableError("y" * 100))
    assert asked._try(dict(zip(["key"], items(1), strict=True))) is not None
    asked._service.report_retries()
    assert said == [f"http://127.0.0.1:1/: 1 requests had to be repeated (1 × {'y' * 80})"]
    asked._service.report_retries()
    assert len(said) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, "again"),
        (425, "again"),
        (429, "again"),
        (500, "again"),
        (599, "again"),
        (300, "never"),
        (399, "never"),
        (400, "never"),
        (404, "never"),
        (200, "well"),
        (299, "well"),
    ],
)
def test_which_answers_of_a_service_are_worth_asking_again(monkeypatch, status, kind):
    asked = scorer("http://127.0.0.1:1/")
    monkeypatch.setattr(service, "post", lambda *_, **__: exchange.Reply(status, "3", b"body"))
    if kind == "well":
        assert asked._service.once(b"", {}).status == status
        return
    with pytest.raises(RetryableError if kind == "again" else ServiceError) as raised:
        asked._service.once(b"", {})
    if kind == "again":
        assert raised.value.wait == 3.0  # pyright: ignore[reportAttributeAccessIssue]


def test_long_bodies_and_scores_are_told_by_their_beginning():
    with pytest.raises(RetryableError) as raised:
        parse_reply(b"z" * 200, ["a"])
    assert str(raised.value).count("z") == 120
    with pytest.raises(RetryableError) as raised:
        parse_reply(json.dumps({"scores": ["w" * 100]}).encode(), ["a"])
    assert str(raised.value).count("w") == 40
    with pytest.raises(RetryableError) as raised:
        parse_reply(json.dumps({"scores": [{"score": 1, "parts": "v" * 100}]}).encode(), ["a"])
    assert str(raised.value).count("v") == 60


def test_the_first_wait_is_half_a_second_if_nothing_else_is_asked_for(monkeypatch):
    plain = HttpScorer(
        "http://127.0.0.1:1/",
        HttpOptions(4, 3, 5.0, 1e9, ("127.0.0.1",), None),
        remembered={},
        notice=print,
    )
    assert plain.name == "127.0.0.1"
    waits, over = [RetryableError("not now")] * 2, Recorded()

    def once(body: bytes, headers: dict[str, str]) -> exchange.Reply:
        if waits:
            raise waits.pop()
        return exchange.Reply(200, "", b'{"scores": [1]}')

    plain._service.once = once  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(plain._service._random, "random", lambda: 0.5)
    plain._ask(dict(zip(["key"], items(1), strict=True)), over)
    assert over.waits[1:] == [0.5, 1.0]


def test_after_a_failure_ahead_the_next_answers_are_sent_ahead_again():
    with moody_server(lambda number: "status 503" if number == 0 else "well") as server:
        asked = scorer(server, at_once=1)
        asked.begin(items(4))
        asked.score(items(4))
        before = len(server.requests)
        asked.begin(items(4, start=20))
        asked._finish_prefetched()
        assert len(server.requests) == before + 1
