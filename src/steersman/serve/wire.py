"""The requests of the OpenAI API, and what they ask of the engine. What cannot be done is refused, not passed over."""

import secrets
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from steersman.errors import SteersmanError
from steersman.records import Message
from steersman.rollout.engine import Sampling, sample_seed
from steersman.rollout.live_row import LiveRow
from steersman.serve.problems import bad_request

MOST_ALTERNATIVES = 20
MOST_ANSWERS = 128
MOST_STOPS = 16

IGNORED = frozenset(
    {
        *("add_generation_prompt", "add_special_tokens", "continue_final_message", "metadata", "parallel_tool_calls"),
        *("priority", "prompt_cache_key", "request_id", "safety_identifier", "service_tier", "skip_special_tokens"),
        *("store", "user"),
    }
)
"""Fields that change no answer here."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "length_penalty": (None, 1),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "auto", "none"),
    "truncate_prompt_tokens": (None,),
    "use_beam_search": (None, False),
}
"""Fields that are taken only with a value that asks for nothing."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class SamplingFields(BaseModel):
    """What answers are sampled by: OpenAI's fields, and vLLM's where OpenAI has none."""

    model_config = ConfigDict(extra="allow")
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    seed: StrictInt | None = Field(default=None, ge=-(2**63), lt=2**63)
    q_beta: float | None = None

    def sampling(self, max_tokens: int) -> Sampling:
        """The settings of the engine, whose own checks name what is wrong."""
        stops = self.stop_strings
        if len(stops) > MOST_STOPS:
            raise bad_request(f"{len(stops)} stop strings; expected {MOST_STOPS} or fewer", "stop")
        try:
            return Sampling(
                max_tokens,
                1.0 if self.temperature is None else self.temperature,
                top_k=max(0, self.top_k or 0),
                top_p=1.0 if self.top_p is None else self.top_p,
                min_p=self.min_p or 0.0,
                repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
                min_new_tokens=self.min_tokens or 0,
                stop=stops,
                stop_ids=tuple(self.stop_token_ids or ()),
                q_beta=self.q_beta,
            )
        except SteersmanError as error:
            name = str(error).partition(" ")[0]
            raise bad_request(str(error).replace("max_new_tokens", "max_tokens"), name) from error

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def refuse_unknown(self) -> None:
        """Raise for fields that would change the answer and cannot be heeded, and for those that nobody knows."""
        for name, value in (self.model_extra or {}).items():
            if name in IGNORED or (name in NEUTRAL and value in NEUTRAL[name]):
                continue
            if name in NEUTRAL:
                raise bad_request(f"{name} is not supported here; leave it out", name, "unsupported_parameter")
            raise bad_request(f"there is no field {name[:60]!r}; leave it out", name[:60], "unknown_parameter")


class AnswerFields(SamplingFields):
    model: str
    n: int = Field(default=1, ge=1, le=MOST_ANSWERS)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(AnswerFields):
    """/v1/completions. A prompt is a text that is continued, or token ids, or a list of either."""

    prompt: str | list[StrictInt] | list[str] | list[list[StrictInt]]
    max_tokens: int | None = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(one, int) for one in self.prompt):
            return [self.prompt]  # pyright: ignore[reportReturnType]
        return self.prompt  # pyright: ignore[reportReturnType]


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    @property
    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])
        return Message("system" if self.role == "developer" else self.role, text)


class ChatRequest(AnswerFields):
    """/v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)
    tools: list[dict[str, Any]] | None = None

    @property
    def alternatives(self) -> int | None:
        if self.top_logprobs and not self.logprobs:
            raise bad_request("top_logprobs needs logprobs: true", "top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class TokensRequest(BaseModel):
    """/inference/v1/generate: token ids in, token ids out."""

    model_config = ConfigDict(extra="ignore")
    token_ids: list[StrictInt] = Field(min_length=1)
    sampling_params: "TokensSampling"
    model: str | None = None
    request_id: str | None = Field(default=None, max_length=200)
    stream: bool = False


class TokensSampling(SamplingFields):
    n: int = Field(default=1, ge=1, le=MOST_ANSWERS)
    max_tokens: int | None = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)


def room_for(prompt: int, wanted: int | None, capacity: int) -> int:
    """The largest number of tokens of an answer. Raises if the context is too short for what is asked."""
    if prompt + (wanted or 1) > capacity:
        asked = f" and {wanted} for the answer" if wanted else ""
        raise bad_request(
            f"This model's maximum context length is {capacity} tokens. However, you requested {prompt} tokens in the "
            f"prompt{asked}. Shorten the prompt{', or ask for fewer tokens' if wanted else ''}",
            "messages",
            "context_length_exceeded",
        )
    return wanted or capacity - prompt


def rows_of(
    prompt: tuple[int, ...], fields: SamplingFields, n: int, *, max_tokens: int, alternatives: int | None
) -> list[LiveRow]:
    """The rows of one prompt. The first answer's seed is the request's; one is drawn if it has none."""
    seed = secrets.randbits(63) if fields.seed is None else fields.seed
    sampling = fields.sampling(max_tokens)
    seeds = [seed, *(sample_seed(seed, 0, "choice", i) for i in range(1, n))]
    return [LiveRow(prompt, sampling, one, alternatives, fields.ignore_eos) for one in seeds]


def check_row(row: LiveRow, vocabulary: int, *, has_q: bool) -> None:
    """Raise for what only the model can tell: before the row joins others, whose step it would spoil."""
    if row.sampling.q_beta and not has_q:
        raise bad_request("the model has no Q heads, which q_beta is the weight of; leave it out", "q_beta")
    wrong = next((token for token in row.prompt if not 0 <= token < vocabulary), None)
    if wrong is not None:
        raise bad_request(
            f"the prompt holds the id {wrong}, and the model has ids from 0 to {vocabulary - 1}", "prompt"
        )


def encoded(encode: Any, *args: Any) -> tuple[int, ...]:
    """The ids of a prompt; what the template or the tokeniser refuses is the request's fault."""
    try:
        return tuple(encode(*args))
    except SteersmanError as error:
        raise bad_request(str(error), "messages") from error
