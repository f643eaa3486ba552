"""A judge behind an endpoint: a server that fails in every way. Nothing is lost, asked twice, or counted as a win."""

import json
import os
import threading
import time
from collections import Counter
from typing import Any

import pytest
from openai_server import LONGEST, openai_server

from steersman.constitution.document import Constitution
from steersman.errors import ServiceError, UsageError
from steersman.judges.endpoint import EndpointJudge, parse_place
from steersman.judges.judge import Judge
from steersman.judges.spending import Budget, Pace, Spent, estimated_tokens
from steersman.records import Principle, Prompt
from steersman.runs.replies import Replies
from steersman.settings.base import check
from steersman.settings.judge import EndpointSettings, JudgeSettings

CONSTITUTION = Constitution("test", (Principle("long", "Long.", "c", "r", "Which answer is longer?"),))
LONG, SHORT = "a much longer answer", "short"


def judge(server, remembered=None, said=None, token=None, **settings) -> Any:
    url = server if isinstance(server, str) else f"{server.url}#judge-1"
    usual = {"allow": ["127.0.0.1"], "timeout": LONGEST, "patience": LONGEST}
    engine = EndpointJudge(
        url,
        check(EndpointSettings, {**usual, **settings}),
        token=token,
        remembered={} if remembered is None else remembered,
        notice=(lambda text: None) if said is None else said.append,
        first_wait=0.01,
    )
    return Judge(engine, CONSTITUTION, check(JudgeSettings, {"model": url}))


def pairs(count):
    return [(Prompt(text=f"Question {i}"), f"{LONG} {i}", f"{SHORT} {i}") for i in range(count)]


def preferences(verdicts):
    return [None if one.preference is None else round(one.preference, 6) for one in verdicts]


def test_a_pair_is_judged_in_both_orders_by_log_probs():
    with openai_server() as server:
        found = judge(server).compare(pairs(2))
        assert preferences(found) == [0.8, 0.8]
        assert len(server.requests) == 4
        assert server.requests[0]["path"] == "/v1/chat/completions"
        assert server.requests[0]["body"]["model"] == "judge-1"
    assert found[0].by_principle[0].first_place == pytest.approx((0.8, 0.2))


FAILING = ["status 429 0", "status 500", "drop", "cut", "cut-silently", "says {}", "says [1]", "stream-cut"]


def test_every_failure_is_repeated_and_changes_no_verdict(tmp_path):
    said: list[str] = []
    with openai_server(lambda number: FAILING[number // 2 % 8] if number % 2 == 0 else "well") as server:
        found = judge(server, Replies(tmp_path), said, timeout=LONGEST, patience=LONGEST).compare(pairs(20))
        assert preferences(found) == [0.8] * 20
        assert set(Counter(server.answered).values()) == {1}
        assert len(server.answered) == 40
        assert len(server.requests) > 40
    assert any("requests had to be repeated" in line for line in said)


def test_a_request_that_hangs_is_cut_off_and_asked_again():
    with openai_server(lambda number: "hang 4" if number == 0 else "well") as server:
        assert preferences(judge(server, timeout=2.0, patience=LONGEST).compare(pairs(1))) == [0.8]
        assert len(server.requests) >= 3


def test_a_rest_that_is_asked_for_is_given():
    with openai_server(lambda number: "status 429 1" if number == 0 else "well") as server:
        judge(server).compare(pairs(1))
        times = [request["time"] for request in server.requests]
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize("form", ["together", "bare", "probs"])
def test_changed_forms_of_log_probs_change_no_verdict(form):
    with openai_server(lambda number: f"form {form}") as server:
        assert preferences(judge(server).compare(pairs(2))) == [0.8, 0.8]


def test_streamed_replies_are_read():
    with openai_server(lambda number: "stream") as server:
        assert preferences(judge(server).compare(pairs(2))) == [0.8, 0.8]


def test_without_log_probs_the_text_is_read_and_said_once():
    said: list[str] = []
    with openai_server(lambda number: "silent") as server:
        assert preferences(judge(server, said=said).compare(pairs(3))) == [1.0, 1.0, 1.0]
        assert "response_format" not in server.requests[0]["body"]
        assert "response_format" in server.requests[1]["body"]
    assert len([line for line in said if "no log-probs" in line]) == 1


@pytest.mark.parametrize("text", ["I like both", ":", "Thought process:", "AB", ""])
def test_what_is_no_choice_is_an_abstention_and_no_win(text):
    with openai_server(lambda number: f"text {text}") as server:
        found = judge(server, structured=False).compare(pairs(1))
    assert found[0].preference is None
    assert "no choice" in found[0].problem


@pytest.mark.parametrize("refused", ["logprobs", "temperature", "response_format", "max_tokens"])
def test_what_an_endpoint_refuses_is_left_out(refused):
    said: list[str] = []
    words = "max_completion_tokens" if refused == "max_tokens" else refused

    def moods(number):
        return f"refuses {refused}"

    with openai_server(moods) as server:
        asked = judge(server, said=said, logprobs=0 if refused == "response_format" else 20)
        if refused == "max_tokens":
            # OpenAI's newer models: "use 'max_completion_tokens' instead"
            server.moods = lambda number: 'refuses "max_tokens"' if number else "well"
            with pytest.raises(ServiceError):
                asked.compare(pairs(1))
            return
        found = asked.compare(pairs(1))
    assert found[0].preference in (pytest.approx(0.8), 1.0)
    assert any(words.split("_")[0] in line or "structured" in line or "log-probs" in line for line in said)


def test_a_refusal_that_nothing_can_be_left_out_of_ends_it():
    with openai_server(lambda number: "status 401") as server:
        with pytest.raises(ServiceError, match="status 401"):
            judge(server).compare(pairs(3))
        assert len(server.requests) == 1


def test_a_dead_endpoint_ends_with_the_replies_kept_and_nothing_is_asked_again(tmp_path):
    with openai_server(lambda number: "well" if number < 7 else "status 503") as server:
        with pytest.raises(ServiceError, match="The replies so far are kept") as raised:
            judge(server, Replies(tmp_path), at_once=1, patience=0.05).compare(pairs(5))
        assert raised.value.exit_code == 9
        kept = len(Replies(tmp_path))
        assert kept == 7
        server.moods = lambda number: "well"
        before = len(server.requests)
        assert preferences(judge(server, Replies(tmp_path)).compare(pairs(5))) == [0.8] * 5
        assert len(server.requests) - before == 3
        assert set(Counter(server.answered).values()) == {1}


def test_no_server_at_all_is_a_dead_endpoint():
    with pytest.raises(ServiceError, match=r"judge\.endpoint\.patience"):
        judge("http://127.0.0.1:9/v1#m", patience=0.05).compare(pairs(1))


def test_requests_are_bounded_and_concurrent():
    with openai_server(lambda number: "hang 0.05") as server:
        judge(server, at_once=3).compare(pairs(6))
        assert 1 < server.most_open <= 3


def test_a_budget_counts_earlier_starts_of_the_run(tmp_path):
    with openai_server() as server:
        with pytest.raises(ServiceError, match=r"judge\.endpoint\.max_calls=5 is used up") as raised:
            judge(server, Replies(tmp_path), at_once=1, max_calls=5).compare(pairs(4))
        assert raised.value.exit_code == 9
        with pytest.raises(ServiceError, match="max_calls=5"):
            judge(server, Replies(tmp_path), max_calls=5).compare(pairs(4))
        assert len(server.requests) == 5
        # the server says that each call has used 100 tokens
        with pytest.raises(ServiceError, match=r"max_tokens=650 is used up \(700 tokens\)"):
            judge(server, Replies(tmp_path), at_once=1, max_tokens=650).compare(pairs(4))
        assert preferences(judge(server, Replies(tmp_path)).compare(pairs(4))) == [0.8] * 4
        assert len(server.requests) == 8


def test_the_key_is_sent_and_kept_nowhere(tmp_path, capfd):
    key = "sk-canary-5f1e"
    said: list[str] = []
    moods = ["status 500", "status 403"]
    with openai_server(lambda number: moods[min(number, 1)]) as server:
        with pytest.raises(ServiceError) as raised:
            judge(server, Replies(tmp_path), said, token=key).compare(pairs(1))
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {key}"
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert key not in kept + str(raised.value) + "".join(said) + str(capfd.readouterr())


def test_private_addresses_are_refused_and_the_setting_is_named():
    with pytest.raises(UsageError, match=r"judge\.endpoint\.allow=\[\"127\.0\.0\.1\"\]"):
        judge("http://127.0.0.1:1/v1#m", allow=[])
    with pytest.raises(UsageError, match=r"judge\.endpoint\.token_env could be read"):
        judge("http://8.8.8.8/v1#m", token="secret")


def test_a_place_names_the_model():
    assert parse_place("https://host/v1#judge-1", "chat") == ("https://host/v1/chat/completions", "judge-1")
    assert parse_place("https://host/v1/#a/b", "completions") == ("https://host/v1/completions", "a/b")
    assert parse_place("https://host/v1/chat/completions?v=1#m", "chat") == (
        "https://host/v1/chat/completions?v=1",
        "m",
    )
    with pytest.raises(UsageError, match="names no model"):
        parse_place("https://host/v1", "chat")


def test_an_estimate_counts_what_was_not_asked_yet():
    remembered: dict = {}
    with openai_server() as server:
        asked = judge(server, remembered)
        requests = asked.requests_for(pairs(3))
        calls, tokens = asked.engine.estimate(requests)
        assert calls == 6
        assert tokens == sum(estimated_tokens(one.text) + 8 for one in requests)
        asked.compare(pairs(2))
        assert asked.engine.estimate(requests)[0] == 2


def test_completions_are_asked_in_their_own_way():
    with openai_server() as server:
        assert preferences(judge(server, api="completions").compare(pairs(1))) == [0.8]
        assert server.requests[0]["path"] == "/v1/completions"
        assert "prompt" in server.requests[0]["body"]


def test_calls_and_tokens_a_minute_are_kept():
    now = [0.0]
    pace = Pace(2, 100, clock=lambda: now[0])

    class Passing(threading.Event):
        def wait(self, timeout=None):
            now[0] += timeout or 0.0
            return False

    began = []
    for tokens in (10, 10, 10, 90, 90, 500):
        pace.wait(tokens, Passing())
        began.append(now[0])
    # Two at once; the third when the first is a minute old, with the fourth at 100 tokens; the fifth a minute later;
    # and one beyond the limit by itself goes alone.
    assert began == pytest.approx([0.0, 0.0, 60.0, 60.0, 120.0, 180.0], abs=0.01)


def test_no_limit_waits_for_nothing():
    began = time.monotonic()
    for _ in range(100):
        Pace(None, None).wait(10**6, threading.Event())
    assert time.monotonic() - began < 5
    Budget(None, None, Spent(), setting="x").begin()


def test_half_a_character_in_an_answer_can_be_asked_about():
    with openai_server() as server:
        found = judge(server).compare([(Prompt(text="Say"), "half \ud83d and more", "x")])
        assert found[0].preference is not None
        assert json.dumps(server.requests[0]["body"]).isascii()


def test_the_replies_file_holds_no_request(tmp_path):
    """Replies are small: what was asked is in the files of answers already."""
    with openai_server() as server:
        judge(server, Replies(tmp_path)).compare(pairs(1))
    row = json.loads((tmp_path / "replies-0.jsonl").read_text().splitlines()[0])
    assert set(row) == {"key", "text", "calls", "tokens", "log_probs", "problem", "read_from"}
    assert os.listdir(tmp_path) == ["replies-0.jsonl"]  # noqa: PTH208
