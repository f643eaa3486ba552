"""Scores over HTTP, in the shape that vLLM answers: /classify, /v1/score and their other names, and /pooling.

A conversation ends with the assistant message that is scored. Without `use_activation: false` the reply holds a sigmoid
of the score, as vLLM's does.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from steersman.errors import SteersmanError
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score
from steersman.serve.answering import unless_hung_up
from steersman.serve.models import ServedScorer
from steersman.serve.problems import ApiError, as_api_error, bad_request, stopping
from steersman.serve.replies import new_id
from steersman.serve.state import ServerState, state_of
from steersman.serve.wire import ChatMessage

router = APIRouter()
Server = Annotated[ServerState, Depends(state_of)]
MOST_SCORED = 1024
"""Answers of one request."""


class ClassifyRequest(BaseModel):
    """One conversation as `messages`, or texts as `input`. `plain_prompt` and `continued` are ours: the first message
    is the text of a plain prompt, which a model without a chat template continues."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    messages: list[ChatMessage] | None = Field(default=None, min_length=1)
    input: str | list[str] | None = None
    use_activation: bool | None = None
    activation: bool | None = None
    plain_prompt: bool = False
    continued: bool = False

    @property
    def activated(self) -> bool:
        return next((one for one in (self.use_activation, self.activation) if one is not None), True)

    @property
    def items(self) -> list[Item]:
        if (self.messages is None) == (self.input is None):
            raise bad_request("give either messages or input", "messages")
        if self.messages is not None:
            return [self._conversation(self.messages)]
        texts = [self.input] if isinstance(self.input, str) else list(self.input or ())
        # a text alone is read as an answer that continues nothing
        return [(Prompt(text="", continued=True), text) for text in texts]

    def _conversation(self, messages: Sequence[ChatMessage]) -> Item:
        *before, last = (one.message for one in messages)
        if last.role != "assistant" or not before:
            raise bad_request(
                "a conversation to be scored ends with an assistant message, which answers what is before it",
                "messages",
            )
        if self.plain_prompt:
            if len(before) != 1:
                raise bad_request("a plain prompt is one message and its answer", "plain_prompt")
            return Prompt(text=before[0].content, continued=self.continued), last.content
        return Prompt(messages=tuple(before)), last.content


class PoolingRequest(ClassifyRequest):
    task: Literal["classify"] | None = None


class ScoreRequest(BaseModel):
    """Each text_2 is scored as an answer to text_1: one for all, or one for each."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    text_1: str | list[str]
    text_2: str | list[str]
    use_activation: bool | None = None

    @property
    def items(self) -> list[Item]:
        answers = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        prompts = [self.text_1] * len(answers) if isinstance(self.text_1, str) else self.text_1
        if len(prompts) == 1:
            prompts = prompts * len(answers)
        if len(prompts) != len(answers):
            raise bad_request(f"{len(prompts)} prompts and {len(answers)} answers; expected as many", "text_1")
        return [(Prompt(text=prompt), answer) for prompt, answer in zip(prompts, answers, strict=True)]


@router.post("/classify")
@router.post("/v1/classify")
async def classify(request: Request, body: ClassifyRequest, server: Server) -> dict[str, Any]:
    served = server.models.scorer(body.model)
    scores = await _scored(request, server, served, body.items)
    label = served.label
    data = [
        {"index": i, "label": label, "probs": [_shown(one, body.activated)], "num_classes": 1}
        for i, one in enumerate(scores)
    ]
    return _reply("classify", served, data)


@router.post("/pooling")
async def pooling(request: Request, body: PoolingRequest, server: Server) -> dict[str, Any]:
    served = server.models.scorer(body.model)
    scores = await _scored(request, server, served, body.items)
    shown = [_shown(one, body.activated) for one in scores]
    return _reply("pool", served, [{"index": i, "object": "pooling", "data": [one]} for i, one in enumerate(shown)])


@router.post("/score")
@router.post("/v1/score")
async def score(request: Request, body: ScoreRequest, server: Server) -> dict[str, Any]:
    served = server.models.scorer(body.model)
    scores = await _scored(request, server, served, body.items)
    activated = body.use_activation is not False
    shown = [_shown(one, activated) for one in scores]
    return _reply("score", served, [{"index": i, "object": "score", "score": one} for i, one in enumerate(shown)])


async def _scored(
    request: Request, server: ServerState, served: ServedScorer, items: Sequence[Item]
) -> Sequence[Score]:
    if not 0 < len(items) <= MOST_SCORED:
        raise bad_request(f"{len(items)} answers to be scored; expected 1 to {MOST_SCORED}", "input")
    began = time.monotonic()

    async def work() -> Sequence[Score]:
        try:
            with server.scoring(len(items)):
                async with asyncio.timeout(server.options.answer_time):
                    return await asyncio.wrap_future(server.worker.score(served.scorer, items))
        except TimeoutError:
            late = f"scoring took longer than {server.options.answer_time:g} s; --answer-time sets the limit"
            raise ApiError(504, late, code="timeout") from None
        except asyncio.CancelledError:
            if server.worker.healthy:
                raise
            raise stopping() from None

    try:
        scores = await unless_hung_up(request, work())
    except SteersmanError as error:
        raise as_api_error(error) from error
    server.metrics.scores.labels(served.name).inc(len(scores))
    server.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)
    return scores


def _shown(score: Score, activated: bool) -> float:
    if not activated:
        return score.value
    # the form that cannot overflow
    part = math.exp(-abs(score.value))
    return (1 if score.value >= 0 else part) / (1 + part)


def _reply(kind: str, served: ServedScorer, data: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}
    return {
        "id": new_id(kind),
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": data,
        "usage": usage,
    }
