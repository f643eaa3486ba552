"""OpenAI's routes: /v1/models, /v1/completions and /v1/chat/completions."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from steersman.records import Prompt
from steersman.rollout.live_row import LiveRow
from steersman.serve.answering import RowText, unless_hung_up
from steersman.serve.models import ServedLanguage
from steersman.serve.problems import ApiError, as_api_error, bad_request
from steersman.serve.replies import ReplyForm
from steersman.serve.state import ServerState, state_of
from steersman.serve.wire import (
    AnswerFields,
    ChatRequest,
    CompletionRequest,
    encoded,
    room_for,
    rows_of,
)
from steersman.text.template import encode_prompt

router = APIRouter()
Server = Annotated[ServerState, Depends(state_of)]


@router.get("/v1/models")
async def list_models(server: Server) -> dict[str, Any]:
    return {"object": "list", "data": [_model(server, name) for name in server.models.names]}


@router.get("/v1/models/{name:path}")
async def show_model(server: Server, name: str) -> dict[str, Any]:
    if name not in server.models.names:
        served = ", ".join(server.models.names)
        raise ApiError(
            404, f"the model {name[:80]!r} does not exist; this server has: {served}", code="model_not_found"
        )
    return _model(server, name)


def _model(server: ServerState, name: str) -> dict[str, Any]:
    language = server.models.languages.get(name)
    found = language or server.models.scorers[name]
    more = {} if language is None else {"max_model_len": language.live.capacity}
    return {"id": name, "object": "model", "created": found.created, "owned_by": "steersman", **more}


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, body: ChatRequest, server: Server) -> Response:
    body.refuse_unknown()
    language = server.models.language(body.model)
    messages = tuple(one.message for one in body.messages)
    tokeniser, tools = language.encoder, body.tools or ()
    ids = await server.encode(lambda: encoded(lambda: encode_prompt(tokeniser, Prompt(messages=messages), tools=tools)))
    limit = room_for(len(ids), body.limit, language.live.capacity)
    rows = rows_of(ids, body, body.n, max_tokens=limit, alternatives=body.alternatives)
    form = ReplyForm.new(language.name, language.tokeniser, chat=True, tools=bool(tools))
    return await _answer(request, server, language, body, form, rows, len(ids))


@router.post("/v1/completions")
async def completions(request: Request, body: CompletionRequest, server: Server) -> Response:
    body.refuse_unknown()
    language = server.models.language(body.model)
    if not body.prompts:
        raise bad_request("the list of prompts is empty; give at least one", "prompt")
    tokeniser = language.encoder

    def encode_all() -> list[tuple[int, ...]]:
        return [
            encoded(encode_prompt, tokeniser, Prompt(text=one, continued=True)) if isinstance(one, str) else tuple(one)
            for one in body.prompts
        ]

    prompts = await server.encode(encode_all)
    if not all(prompts):
        raise bad_request("a prompt has no tokens; give at least one", "prompt")
    rows: list[LiveRow] = []
    for ids in prompts:
        limit = room_for(len(ids), body.max_tokens, language.live.capacity)
        rows += rows_of(ids, body, body.n, max_tokens=limit, alternatives=body.logprobs)
    form = ReplyForm.new(language.name, language.tokeniser, chat=False)
    return await _answer(request, server, language, body, form, rows, sum(map(len, prompts)))


async def _answer(
    request: Request,
    server: ServerState,
    language: ServedLanguage,
    body: AnswerFields,
    form: ReplyForm,
    rows: Sequence[LiveRow],
    prompts: int,
) -> Response:
    texts = [RowText(language.tokeniser, row) for row in rows]
    began = time.monotonic()
    if not body.stream:
        await unless_hung_up(request, server.answers.whole(language, rows, form.id))
        server.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)
        return JSONResponse(form.whole(texts, prompts))
    joined = server.answers.joined(language, rows, each_token=True, request_id=form.id)
    # entered here, so that a refusal has its own status and not that of a stream
    next_change = await joined.__aenter__()

    async def leave() -> None:
        await joined.__aexit__(None, None, None)
        server.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)

    async def stream() -> AsyncIterator[str]:
        try:
            async for chunk in _chunks(form, texts, next_change):
                yield json.dumps(chunk, ensure_ascii=False)
            if body.with_usage:
                yield json.dumps(form.last(texts, prompts))
        except Exception as error:
            yield json.dumps(as_api_error(error).body)
        yield "[DONE]"

    return AnswerStream(stream(), leave)


class AnswerStream(EventSourceResponse):
    """A stream of events, after which `leave` is called, however it ends: also if the client went before it began."""

    def __init__(self, events: AsyncIterator[str], leave: Callable[[], Awaitable[None]]) -> None:
        super().__init__(events, sep="\n")
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()


async def _chunks(
    form: ReplyForm, texts: Sequence[RowText], next_change: Callable[[], Awaitable[None]]
) -> AsyncIterator[dict[str, Any]]:
    for chunk in form.opening(len(texts)):
        yield chunk
    while not all(text.over for text in texts):
        await next_change()
        for i, text in enumerate(texts):
            if text.over:
                continue
            chunk = form.news(i, text)
            if chunk is not None:
                yield chunk
