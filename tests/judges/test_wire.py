"""Replies of the OpenAI API: every form of log-probs gives the same verdict, and what is no choice is no verdict."""

import json
import math

import pytest

from steersman.constitution.render import ModelRequest
from steersman.judges.wire import Form, body_of, read_reply, reading_of
from steersman.records import Message
from steersman.reward.service import RetryableError

A, B = math.log(0.6), math.log(0.2)
LETTERS = ("A", "B")
GRADES = tuple(str(number) for number in range(1, 11))
REQUEST = ModelRequest((Message("system", "Be fair."), Message("user", "Which?")), "", LETTERS)


def chat(text="A", logprobs=None, **more):
    return json.dumps({"choices": [{"message": {"content": text}, "logprobs": logprobs, **more}]}).encode()


def listed(values):
    return [{"token": token, "logprob": value} for token, value in values.items()]


def position(token, values):
    return {"token": token, "logprob": values.get(token), "top_logprobs": listed(values)}


TWO = {"A": A, "B": B}
FORMS = {
    "openai": chat(logprobs={"content": [position("A", TWO)]}),
    "a space in the token": chat(logprobs={"content": [position(" A", {" A": A, " B": B})]}),
    "a line before it": chat(logprobs={"content": [position("\n", {"\n": -0.1}), position("A", TWO)]}),
    "brackets": chat(logprobs={"content": [position("(", {"(": -0.1}), position("A", TWO)]}),
    "bare list": chat(logprobs=[position("A", TWO)]),
    "together": chat(logprobs={"tokens": ["A"], "token_logprobs": [A], "top_logprobs": [TWO]}),
    "completions": json.dumps(
        {"choices": [{"text": "A", "logprobs": {"tokens": ["A"], "token_logprobs": [A], "top_logprobs": [TWO]}}]}
    ).encode(),
    "lists in completions": chat(logprobs={"tokens": ["A"], "token_logprobs": [A], "top_logprobs": [listed(TWO)]}),
    "llama.cpp": json.dumps(
        {
            "content": "A",
            "completion_probabilities": [
                {"content": "A", "probs": [{"tok_str": "A", "prob": 0.6}, {"tok_str": "B", "prob": 0.2}]}
            ],
        }
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_log_probs_is_read(form):
    reading = reading_of(read_reply(FORMS[form]), LETTERS)
    assert reading.log_probs == pytest.approx((A, B))
    assert reading.read_from == "log-probs"


def test_tokens_that_are_the_same_choice_are_added():
    # "A" has 0.5 and " A" 0.1: the choice A has 0.6.
    values = {"A": math.log(0.5), " A": math.log(0.1), "B": B, "C": -5.0}
    reading = reading_of(read_reply(chat(logprobs={"content": [position("A", values)]})), LETTERS)
    assert reading.log_probs == pytest.approx((A, B))


def test_a_choice_beyond_the_alternatives_is_no_likelier_than_the_last_of_them():
    # A 0.7 and "The" 0.2 leave 0.1; the last alternative has 0.2: so B has at most 0.1.
    values = {"A": math.log(0.7), "The": math.log(0.2)}
    reading = reading_of(read_reply(chat(logprobs={"content": [position("A", values)]})), LETTERS)
    assert reading.log_probs == pytest.approx((math.log(0.7), math.log(0.1)))


def test_ten_as_two_tokens_is_told_from_one():
    # "1" has 0.8, and after it "0" has 0.75: 10 has 0.6 and 1 has 0.2.
    here = {"1": math.log(0.8), "9": math.log(0.2)}
    after = {"0": math.log(0.75), "": math.log(0.25)}
    body = chat("10", logprobs={"content": [position("1", here), position("0", after)]})
    reading = reading_of(read_reply(body), GRADES)
    assert reading.log_probs is not None
    shares = [math.exp(value) for value in reading.log_probs]
    assert (shares[0], shares[8], shares[9]) == pytest.approx((0.2, 0.2, 0.6))
    assert sum(shares[1:8]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("text", ["B", " B.\n", "(B)", "**B**", '"B"', '{"choice": "B"}'])
def test_without_log_probs_the_choice_is_read_from_the_text(text):
    reading = reading_of(read_reply(chat(text)), LETTERS)
    assert (reading.log_probs, reading.read_from) == ((-math.inf, 0.0), "text")


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "A or B", "B is better", "b", "AB", "Answer A", "C", "Thought process:", '{"choice": "C"}', "{A}x"),
        *('{"choice": ["A"]}', "{" * 5000, "I cannot choose A"),
    ],
)
def test_what_is_no_choice_is_no_verdict(text):
    reading = reading_of(read_reply(chat(text)), LETTERS)
    assert reading.log_probs is None
    assert "no choice" in reading.problem


def test_words_may_have_another_case():
    assert reading_of(read_reply(chat("YES.")), ("Yes", "No")).log_probs == (0.0, -math.inf)


def test_a_refusal_is_no_verdict():
    body = json.dumps({"choices": [{"message": {"content": None, "refusal": "I can't"}}]}).encode()
    assert reading_of(read_reply(body), LETTERS).problem == "the endpoint refused to judge"
    assert reading_of(read_reply(chat("A", finish_reason="content_filter")), LETTERS).log_probs is None


def test_a_stream_is_joined():
    events = [
        {"choices": [{"delta": {"role": "assistant"}}]},
        {"choices": [{"delta": {"content": "A"}, "logprobs": {"content": [position("A", TWO)]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"total_tokens": 12}},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    reply = read_reply(f": keep alive\n\n{body}data: [DONE]\n\n".encode())
    assert (reply.text, reply.finish, reply.tokens) == ("A", "stop", 12)
    assert reading_of(reply, LETTERS).log_probs == pytest.approx((A, B))
    with pytest.raises(RetryableError, match="ended before"):
        read_reply(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"choices": []}',
            b'{"choices": [1]}',
            b"<html>",
            b'{"error": {"message": "x"}}',
        ),
        *(b"data: {\n\ndata: [DONE]\n\n", b"data: [DONE]\n\n", b"[" * 100_000),
    ],
)
def test_what_is_no_reply_is_asked_again(body):
    with pytest.raises(RetryableError):
        read_reply(body)


@pytest.mark.parametrize(
    "logprobs",
    [{}, [], "x", {"content": [1]}, {"content": [{}]}, {"tokens": ["A"]}, {"tokens": [1], "top_logprobs": [None]}],
)
def test_broken_log_probs_leave_the_text(logprobs):
    assert reading_of(read_reply(chat("A", logprobs)), LETTERS).log_probs == (0.0, -math.inf)


def test_numbers_that_are_no_log_probs_are_ignored():
    values = [{"token": "A", "logprob": float("nan")}, {"token": "B", "logprob": True}, {"token": "A", "logprob": "x"}]
    body = chat("A", {"content": [{"token": "A", "logprob": None, "top_logprobs": values}]})
    assert reading_of(read_reply(body), LETTERS).read_from == "text"


def test_what_is_sent():
    form = Form(chat=True, logprobs=20, structured=True)
    body = body_of(REQUEST, "judge-1", form, max_tokens=8)
    assert body == {
        "model": "judge-1",
        "max_tokens": 8,
        "temperature": 0,
        "messages": [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Which?"}],
        "logprobs": True,
        "top_logprobs": 20,
    }
    structured = body_of(REQUEST, "judge-1", Form(chat=True, logprobs=0, structured=True), max_tokens=8)
    schema = structured["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["choice"]["enum"] == ["A", "B"]
    plain = body_of(REQUEST, "judge-1", Form(chat=False, logprobs=5, structured=True), max_tokens=8)
    assert plain["prompt"] == "System: Be fair.\n\nHuman: Which?\n\nAssistant:"
    assert plain["logprobs"] == 5


def test_reasons_come_before_the_request_for_the_choice():
    request = ModelRequest((Message("user", "Which?"),), "Both are fine.\nThe better answer is", LETTERS)
    body = body_of(request, "m", Form(True, 20, True), max_tokens=8)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][2]["content"] == "Now reply with A or B and nothing else."
