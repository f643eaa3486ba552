"""Scores over HTTP: those of the scorer itself, in vLLM's shape, and by our own client."""

import math
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from steersman.errors import ServiceError, UsageError
from steersman.records import Message, Prompt
from steersman.reward.classify import read_classify
from steersman.reward.http import HttpOptions, HttpScorer
from steersman.reward.service import RetryableError
from steersman.serve.models import is_scorer, named

CONVERSATION = [
    {"role": "user", "content": "What are the benefits of exercise?"},
    {"role": "assistant", "content": "It is good for the heart."},
]
ITEMS = [
    (Prompt(text="A dog is"), " a good friend"),
    (Prompt(text="A dog is", continued=True), " a good friend"),
    (Prompt(messages=(Message("system", "Be kind."), Message("user", "Hello"))), "Hello to you"),
    (Prompt(messages=(Message("user", "Hello"),)), "Go <|end|> away"),
]


def value(scorer, *item):
    return scorer.score([item])[0].value


def post(served, route, **body):
    reply = httpx2.post(f"{served.address}{route}", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("route", ["/classify", "/v1/classify"])
def test_a_conversation_is_scored_in_vllms_shape(served, scorer, route):
    item = (Prompt(messages=(Message("user", CONVERSATION[0]["content"]),)), CONVERSATION[1]["content"])
    found = post(served, route, model="judge", messages=CONVERSATION, use_activation=False, add_special_tokens=False)
    assert found["data"] == [
        {"index": 0, "label": "taste", "probs": [pytest.approx(value(scorer, *item), abs=1e-5)], "num_classes": 1}
    ]
    assert (found["object"], found["model"]) == ("list", "judge")
    squeezed = post(served, route, messages=CONVERSATION)["data"][0]["probs"][0]
    assert squeezed == pytest.approx(1 / (1 + math.exp(-value(scorer, *item))), abs=1e-5)


def test_pooling_score_and_plain_texts(served, scorer):
    pooled = post(served, "/pooling", messages=CONVERSATION, task="classify", use_activation=False)["data"][0]["data"]
    classified = post(served, "/classify", messages=CONVERSATION, use_activation=False)["data"][0]["probs"]
    assert pooled == pytest.approx(classified, abs=1e-5)
    pair = post(served, "/v1/score", text_1="A dog is", text_2=[" good", " bad"], use_activation=False)["data"]
    expected = [value(scorer, Prompt(text="A dog is"), answer) for answer in (" good", " bad")]
    assert [one["score"] for one in pair] == pytest.approx(expected, abs=1e-5)
    texts = post(served, "/classify", input=["one text", "another"], use_activation=False)["data"]
    alone = [value(scorer, Prompt(text="", continued=True), text) for text in ("one text", "another")]
    assert [one["probs"][0] for one in texts] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": CONVERSATION[:1]}, "ends with an assistant message"),
        ({"messages": CONVERSATION, "input": "x"}, "either messages or input"),
        ({}, "either messages or input"),
        ({"input": []}, "expected 1 to 1024"),
        ({"messages": [*CONVERSATION[:1], *CONVERSATION], "plain_prompt": True}, "one message and its answer"),
    ],
)
def test_what_cannot_be_scored(served, body, words):
    reply = httpx2.post(f"{served.address}/classify", json=body)
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


def test_a_language_model_gives_no_scores(served):
    reply = httpx2.post(f"{served.address}/classify", json={"model": "tiny", "messages": CONVERSATION})
    assert "ask /v1/chat/completions" in reply.json()["error"]["message"]
    wrong = httpx2.post(f"{served.address}/v1/score", json={"text_1": ["a", "b"], "text_2": ["c", "d", "e"]})
    assert "2 prompts and 3 answers" in wrong.json()["error"]["message"]


def client(served, model="judge"):
    options = HttpOptions(7, 4, 60.0, 120.0, ("127.0.0.1",), None)
    return HttpScorer(f"{served.address}/classify#{model}", options, remembered={}, notice=lambda text: None)


def test_our_client_gets_the_scores_of_the_scorer_itself(served, scorer):
    items = [*ITEMS, *((Prompt(text=f"Question {i}"), f"answer {i}") for i in range(20))]
    remote = client(served)
    remote.begin(items[:9])
    assert [one.value for one in remote.score(items)] == pytest.approx(
        [one.value for one in scorer.score(items)], abs=1e-5
    )


def test_many_clients_at_once_get_their_own_scores(served, scorer):
    expected = [one.value for one in scorer.score(ITEMS)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: client(served).score([ITEMS[i % 4]])[0].value, range(24)))
    assert found == pytest.approx([expected[i % 4] for i in range(24)], abs=1e-5)


def test_a_model_that_is_not_there_is_refused_at_once(served):
    with pytest.raises(ServiceError, match="this server has: judge"):
        client(served, "nobody").score(ITEMS[:1])


def test_replies_that_are_no_score():
    for body in (b"", b"[]", b"{}", b'{"data": [{"probs": ["x"]}]}', b'{"data": [{"probs": [NaN]}]}'):
        with pytest.raises(RetryableError):
            read_classify(body, ["a"])
    with pytest.raises(ServiceError, match="gives 2 classes"):
        read_classify(b'{"data": [{"probs": [0.1, 0.9]}]}', ["a"])


def test_names_and_kinds_of_models(tmp_path, model_folder):
    assert named(["a=harbour:base", "harbour:base"]) == {"a": "harbour:base", "harbour:base": "harbour:base"}
    assert named([str(model_folder)]) == {model_folder.name: str(model_folder)}
    for wrong, words in (
        (["a=x", "a=y"], "two models"),
        ([], "no model"),
        (["=x"], "no model to serve"),
        (["a="], "no model"),
    ):
        with pytest.raises(UsageError, match=words):
            named(wrong)
    assert not is_scorer(str(model_folder))
    assert not is_scorer("harbour:base")
    assert is_scorer("rewards.py:mine")
    assert is_scorer("verify:numeric")
