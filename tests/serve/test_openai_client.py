"""The openai client of this year works against the server unchanged, and gets what the engine gives."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling
from steersman.rollout.stops import answer_text
from steersman.text.template import encode_prompt

HELLO = [{"role": "user", "content": "What are the benefits of exercise?"}]


def language(served, name="tiny"):
    return served.state.models.languages[name]


def expected(served, messages, seed, tokens=24, **sampling):
    """What `generate` gives for a conversation."""
    found = language(served)
    ids = encode_prompt(found.encoder, Prompt(messages=tuple(Message(**one) for one in messages)))
    work = served.state.worker.call(
        lambda: found.engine.generate(
            [ids], Sampling(tokens, sampling.pop("temperature", 1.0), **sampling), seeds=[seed]
        )
    )
    return work.result(60)[0]


def text_of(served, rollout, stop=()):
    return answer_text(language(served).encoder, rollout, stop)


def ask(served, seed=5, tokens=24, messages=HELLO, **more):
    return served.client.chat.completions.create(model="tiny", messages=messages, max_tokens=tokens, seed=seed, **more)


def joined(stream, index=0):
    parts = [c for chunk in stream for c in chunk.choices if c.index == index]
    return "".join(one.delta.content or "" for one in parts), parts[-1].finish_reason, parts


def test_models_are_listed(served):
    assert [one.id for one in served.client.models.list()] == ["tiny", "tools", "judge"]
    assert served.client.models.retrieve("tiny").model_extra["max_model_len"] == 256
    with pytest.raises(openai.NotFoundError, match="this server has: tiny, tools, judge"):
        served.client.models.retrieve("nobody")


def test_a_chat_is_answered_as_generate_answers_it(served):
    reply, rollout = ask(served), expected(served, HELLO, 5)
    assert reply.choices[0].message.content == text_of(served, rollout)
    assert reply.choices[0].finish_reason == {"end": "stop", "length": "length"}[rollout.finish_reason]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(rollout.prompt_ids), len(rollout.ids))
    assert reply.usage.total_tokens == len(rollout.prompt_ids) + len(rollout.ids)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_joins_to_the_whole_text_also_where_letters_are_broken(served, seed):
    """A model with random weights writes bytes that are no letters, in every possible place."""
    whole = ask(served, seed, 40).choices[0]
    text, reason, parts = joined(ask(served, seed, 40, stream=True))
    assert (text, reason) == (whole.message.content, whole.finish_reason)
    assert parts[0].delta.role == "assistant"
    assert "\ufffd" in text
    assert len(parts) > 5


def test_a_stop_string_is_cut_off_and_never_shown_in_part(served):
    whole = ask(served, 2, 60).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    assert len(stop) == 3
    cut = ask(served, 2, 60, stop=[stop, "never in it"]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (whole[: whole.index(stop)], "stop")
    text, reason, _ = joined(ask(served, 2, 60, stop=stop, stream=True))
    assert (text, reason) == (cut.message.content, "stop")


def test_several_answers_begin_with_the_one_of_the_seed(served):
    several = ask(served, 9, n=3).choices
    assert [one.index for one in several] == [0, 1, 2]
    assert several[0].message.content == ask(served, 9).choices[0].message.content
    assert len({one.message.content for one in several}) == 3
    chunks = list(ask(served, 9, n=3, stream=True, stream_options={"include_usage": True}))
    for i, one in enumerate(several):
        assert joined(chunks, i)[0] == one.message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == sum(len(expected(served, HELLO, seed).ids) for seed in seeds_of(9, 3))


def seeds_of(seed, n):
    from steersman.rollout.engine import sample_seed

    return [seed, *(sample_seed(seed, 0, "choice", i) for i in range(1, n))]


def test_log_probs_are_those_of_the_model(served):
    rollout = expected(served, HELLO, 5)
    reply = ask(served, 5, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert [one.logprob for one in reply] == pytest.approx(rollout.log_probs.tolist(), abs=1e-4)
    assert [len(one.top_logprobs) for one in reply] == [3] * len(rollout.ids)
    assert all(one.bytes is None or bytes(one.bytes).decode() == one.token for one in reply)
    _, _, parts = joined(ask(served, 5, logprobs=True, stream=True))
    streamed = [token.logprob for part in parts if part.logprobs for token in part.logprobs.content]
    assert streamed == pytest.approx([one.logprob for one in reply], abs=1e-4)


def test_completions_continue_texts_and_ids(served):
    ids = language(served).encoder("A dog is")["input_ids"]
    made = {"model": "tiny", "max_tokens": 12, "seed": 4}
    client = served.client
    by_text = client.completions.create(prompt="A dog is", logprobs=2, **made)
    by_ids = client.completions.create(prompt=ids, **made)
    both = client.completions.create(prompt=["A dog is", "The answer"], **made)
    assert by_text.choices[0].text == by_ids.choices[0].text == both.choices[0].text != both.choices[1].text
    assert by_text.usage.prompt_tokens == len(ids)
    found = by_text.choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == by_text.usage.completion_tokens
    assert found.text_offset[0] == 0
    streamed = client.completions.create(prompt="A dog is", stream=True, **made)
    assert "".join(chunk.choices[0].text for chunk in streamed) == by_text.choices[0].text


def test_settings_are_each_rows_own(served):
    greedy = ask(served, 1, 16, temperature=0).choices[0].message.content
    assert greedy == text_of(served, expected(served, HELLO, 1, 16, temperature=0.0))
    assert ask(served, 2, 16, temperature=0).choices[0].message.content == greedy
    penalised = ask(served, 1, 16, extra_body={"repetition_penalty": 1.5, "top_k": 4, "min_tokens": 16})
    assert penalised.usage.completion_tokens == 16
    rollout = expected(served, HELLO, 1, 16, repetition_penalty=1.5, top_k=4, min_new_tokens=16)
    assert penalised.choices[0].message.content == text_of(served, rollout)


def test_a_seed_gives_the_same_answer_whatever_else_runs(served):
    alone = [ask(served, seed).choices[0].message.content for seed in range(3)]

    def one(i):
        if i % 4 == 0:
            return ask(served, i // 4 % 3).choices[0].message.content
        return ask(served, 100 + i, 5 + i % 30, temperature=0.3 + 0.1 * (i % 9), top_p=0.7 + 0.01 * (i % 20))

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(36)))
    assert found[::4] == [alone[i % 3] for i in range(9)]


def test_a_conversation_that_ends_with_the_assistant_is_continued(served):
    begun = [*HELLO, {"role": "assistant", "content": "It is good for"}]
    rollout = expected(served, begun, 3)
    assert ask(served, 3, messages=begun).choices[0].message.content == text_of(served, rollout)


def test_tools_go_through_the_template_and_calls_come_back_as_text(served):
    tool = {"type": "function", "function": {"name": "weather", "description": "It <|end|> rains", "parameters": {}}}
    make = served.client.chat.completions.create
    plain = make(model="tools", messages=HELLO, max_tokens=4)
    told = make(model="tools", messages=HELLO, max_tokens=4, tools=[tool])
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens + 20
    assert told.choices[0].message.tool_calls is None
    assert "not parsed" in told.model_extra["steersman"]["notice"]
    found = language(served, "tools").encoder
    ids = encode_prompt(found, Prompt(messages=(Message("user", "a"),)), tools=[tool])
    # what looks like a control token in a tool is text
    assert ids.count(found.eos_token_id) == 0
    assert '"It <|end|> rains"' in found.decode(ids)
    with pytest.raises(openai.BadRequestError, match="takes no tools"):
        make(model="tiny", messages=HELLO, max_tokens=4, tools=[tool])


REFUSED = [
    ({"temperature": -1}, "temperature is -1"),
    ({"top_p": 0}, "top_p is 0"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ({"n": 0}, "n: Input should be"),
    ({"seed": 2**70}, "seed: Input should be"),
    ({"stop": [""]}, "stop is"),
    ({"logit_bias": {"5": 10}}, "logit_bias is not supported"),
    ({"presence_penalty": 0.5}, "presence_penalty is not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
    ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
    ({"extra_body": {"temprature": 1}}, "there is no field 'temprature'"),
    ({"messages": []}, "messages: List should have at least 1 item"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0"),
    ({"extra_body": {"q_beta": 2.0}}, "has no Q heads"),
]


@pytest.mark.parametrize(("wrong", "words"), REFUSED, ids=lambda one: str(one)[:30])
def test_what_cannot_be_done_is_refused(served, wrong, words):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(served, **{"tokens": wrong.pop("max_tokens", 4), **wrong}) if "max_tokens" in wrong else ask(
            served, **wrong
        )
    assert words in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert caught.value.body["message"]


def test_what_is_neutral_is_taken(served):
    reply = ask(served, 1, 4, user="me", presence_penalty=0, frequency_penalty=0, response_format={"type": "text"})
    assert reply.usage.completion_tokens == 4


def test_unknown_models_and_long_prompts_have_openais_codes(served):
    make = served.client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        make(model="gpt-9", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="does not give answers; ask /classify"):
        make(model="judge", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="maximum context length is 256 tokens") as long:
        make(model="tiny", messages=[{"role": "user", "content": "word " * 400}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="and 250 for the answer"):
        make(model="tiny", messages=HELLO, max_tokens=250)
    with pytest.raises(openai.BadRequestError, match="ids from 0 to"):
        served.client.completions.create(model="tiny", prompt=[5, 10**6])


def test_without_a_limit_a_chat_fills_the_context(served):
    reply = served.client.chat.completions.create(model="tiny", messages=HELLO, extra_body={"ignore_eos": True})
    assert (reply.usage.total_tokens, reply.choices[0].finish_reason) == (256, "length")


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "no valid JSON"),
        (b"[1]", {}, 400, "the body"),
        (b"\xff\xfe", {}, 400, "the body"),
        (b"{}", {"content-type": "text/plain"}, 415, "application/json"),
        (b"{}", {"host": "evil.example"}, 421, "--host-name"),
    ],
)
def test_bodies_and_headers_that_are_refused(served, body, headers, status, words):
    sent = {"content-type": "application/json", **headers}
    reply = httpx2.post(f"{served.address}/v1/chat/completions", content=body, headers=sent)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]


def test_unknown_routes_and_methods_are_answered_in_the_same_form(served):
    assert httpx2.get(f"{served.address}/v1/nothing").json()["error"]["message"] == "there is no such route"
    assert httpx2.get(f"{served.address}/v1/completions").status_code == 405
    reply = httpx2.post(f"{served.address}/pause")
    assert (reply.status_code, "--allow-weight-updates" in reply.json()["error"]["message"]) == (404, True)


def test_health_version_and_metrics(served):
    ask(served, 1, 3, extra_body={"ignore_eos": True})
    assert httpx2.get(f"{served.address}/health").json() == {"status": "ok"}
    assert httpx2.get(f"{served.address}/version").json()["name"] == "steersman"
    lines = httpx2.get(f"{served.address}/metrics").text.splitlines()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert found['steersman_generated_tokens_total{model="tiny"}'] >= 3
    assert found['steersman_open_answers{model="tiny"}'] == 0
    assert found['steersman_answers_total{model="tiny",reason="length"}'] >= 1
    assert math.isfinite(found['steersman_request_seconds_sum{route="/v1/chat/completions"}'])


def test_events_are_plain_server_sent_events(served):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 3, "stream": True, "seed": 1}
    with httpx2.stream("POST", f"{served.address}/v1/chat/completions", json=body) as reply:
        lines = [line for line in reply.iter_lines() if line and not line.startswith(":")]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk" for line in lines[:-1])
