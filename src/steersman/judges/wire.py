"""Requests and replies of the OpenAI chat and completions API, in the forms that servers give them. Pure.

A reply is one JSON object, or the events of a stream. Log-probs come in several forms; where there are none, the choice
is read from the text, strictly: what is not a choice and nothing else is no verdict.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.constitution.render import ModelRequest
from steersman.judges.reading import ChoiceReading
from steersman.records import Message
from steersman.reward.service import RetryableError, beginning

Alternatives = Mapping[str, float]
"""Log-probs by token at one position."""
# around a choice, in a token or in a whole reply
_AROUND = " \t\r\n()[]{}\"'*_`.,:;<>\u201c\u201d"


@dataclass(frozen=True, slots=True)
class WireReply:
    """What a reply holds: its text, why it ended, the tokens it says were used, and for each position the token taken
    and its alternatives."""

    text: str
    finish: str
    tokens: int | None
    taken: tuple[str, ...]
    alternatives: tuple[Alternatives, ...]
    refused: bool


@dataclass(frozen=True, slots=True)
class Form:
    """What the endpoint is asked for. Each part is left out once it has been refused."""

    chat: bool
    logprobs: int
    structured: bool
    sends_temperature: bool = True
    limit_name: str = "max_tokens"


def body_of(request: ModelRequest, model: str, form: Form, *, max_tokens: int) -> dict[str, Any]:
    """The JSON of one request."""
    found: dict[str, Any] = {"model": model, form.limit_name: max_tokens}
    if form.sends_temperature:
        found["temperature"] = 0
    if form.chat:
        found["messages"] = [{"role": one.role, "content": one.content} for one in _messages(request)]
    else:
        found["prompt"] = _plain(request)
    if request.choices and form.logprobs:
        found |= {"logprobs": True, "top_logprobs": form.logprobs} if form.chat else {"logprobs": form.logprobs}
    elif request.choices and form.structured and form.chat:
        schema = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": [choice.strip() for choice in request.choices]}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        verdict = {"name": "verdict", "strict": True, "schema": schema}
        found["response_format"] = {"type": "json_schema", "json_schema": verdict}
    return found


def _messages(request: ModelRequest) -> Sequence[Message]:
    """The messages of a chat. Chat endpoints continue no reply: a begun one becomes a turn before the request for the
    choice."""
    if not request.opening:
        return request.messages
    if not request.choices:
        last = request.messages[-1]
        begin = f"{last.content}\n\nBegin your reply with: {request.opening}"
        return (*request.messages[:-1], Message(last.role, begin))
    asked = f"Now reply with {_either(request.choices)} and nothing else."
    return (*request.messages, Message("assistant", request.opening), Message("user", asked))


def _either(choices: Sequence[str]) -> str:
    *others, last = [choice.strip() for choice in choices]
    return f"{', '.join(others)} or {last}"


def _plain(request: ModelRequest) -> str:
    """The request as one text, for an endpoint without chat turns."""
    roles = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}
    if len(request.messages) == 1:
        text = request.messages[0].content
    else:
        text = "\n\n".join(f"{roles[one.role]}: {one.content}" for one in request.messages)
    return f"{text}\n\nAssistant:{f' {request.opening}' if request.opening else ''}"


def read_reply(body: bytes) -> WireReply:
    """A reply in any known form; RetryableError if it is none, is cut off, or reports an error."""
    start = body.lstrip()[:6]
    streamed = start.startswith((b"data:", b"event:", b":"))
    return _joined(_events(body)) if streamed else _whole(_json(body))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RetryableError(f"a reply that is no complete JSON: {beginning(body)}") from None


def _events(body: bytes) -> list[Any]:
    """The objects of a stream of server-sent events; the stream must have come to its end."""
    found: list[Any] = []
    for line in body.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name != "data":
            continue
        if value.strip() == "[DONE]":
            return found
        found.append(_json(value.strip().encode()))
    raise RetryableError(f"a stream of {len(found)} events that ended before [DONE]")


def _joined(events: Sequence[Any]) -> WireReply:
    parts = [_whole(event) for event in events if _mapping(event).get("choices") or _mapping(event).get("error")]
    if not parts:
        raise RetryableError("a stream without choices")
    usage = [_tokens(event) for event in events]
    return WireReply(
        "".join(part.text for part in parts),
        next((part.finish for part in reversed(parts) if part.finish), ""),
        next((tokens for tokens in reversed(usage) if tokens is not None), None),
        tuple(token for part in parts for token in part.taken),
        tuple(one for part in parts for one in part.alternatives),
        any(part.refused for part in parts),
    )


def _whole(reply: Any) -> WireReply:
    found = _mapping(reply)
    error = found.get("error")
    if error:
        raise RetryableError(f"a reply that reports an error: {str(error)[:120]}")
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        if "completion_probabilities" in found and isinstance(found.get("content"), str):  # llama.cpp's own form
            choices = [{"text": found["content"], "logprobs": found["completion_probabilities"]}]
        else:
            raise RetryableError(f"a reply without choices: {str(reply)[:120]!r}")
    choice = choices[0]
    said = _mapping(choice.get("message") or choice.get("delta"))
    text = said.get("content") if said else choice.get("text")
    if isinstance(text, list):  # content in parts
        text = "".join(str(_mapping(part).get("text", "")) for part in text)
    taken, alternatives = _positions(choice.get("logprobs") or found.get("completion_probabilities"))
    finish = choice.get("finish_reason")
    return WireReply(
        text if isinstance(text, str) else "",
        finish if isinstance(finish, str) else "",
        _tokens(reply),
        taken,
        alternatives,
        bool(said.get("refusal")) or finish == "content_filter",
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tokens(reply: Any) -> int | None:
    usage = _mapping(_mapping(reply).get("usage"))
    total = usage.get("total_tokens")
    if isinstance(total, int) and not isinstance(total, bool) and total >= 0:
        return total
    parts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    known = [part for part in parts if isinstance(part, int) and not isinstance(part, bool) and part >= 0]
    return sum(known) if known else None


def _positions(logprobs: Any) -> tuple[tuple[str, ...], tuple[Alternatives, ...]]:
    """The token taken at each position and its alternatives, from any of the known forms; empty if there are none."""
    if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
        logprobs = logprobs["content"]
    if isinstance(logprobs, list):
        items = [_mapping(one) for one in logprobs]
        taken = tuple(str(one.get("token", one.get("content", ""))) for one in items)
        return taken, tuple(_alternatives(one) for one in items)
    found = _mapping(logprobs)
    tokens, tops = found.get("tokens"), found.get("top_logprobs")
    if not isinstance(tokens, list) or not isinstance(tops, list):
        return (), ()
    alone = found.get("token_logprobs")
    single = alone if isinstance(alone, list) else [None] * len(tokens)
    alternatives = [
        {**_own(token, value), **_listed(top)} for token, value, top in zip(tokens, single, tops, strict=False)
    ]
    return tuple(map(str, tokens[: len(alternatives)])), tuple(alternatives)


def _alternatives(item: Mapping[str, Any]) -> Alternatives:
    listed = item.get("top_logprobs") or item.get("top_probs") or item.get("probs")
    return {**_own(item.get("token", item.get("content")), item.get("logprob")), **_listed(listed)}


def _own(token: Any, value: Any) -> Alternatives:
    return {token: float(value)} if isinstance(token, str) and _is_log_prob(value) else {}


def _listed(listed: Any) -> Alternatives:
    """Alternatives as {token: log-prob}, or as a list of objects with log-probs or probabilities."""
    if isinstance(listed, Mapping):
        return {str(token): float(value) for token, value in listed.items() if _is_log_prob(value)}
    found: dict[str, float] = {}
    for one in listed if isinstance(listed, list) else []:
        row = _mapping(one)
        token, value = row.get("token", row.get("tok_str")), row.get("logprob")
        share = row.get("prob")
        if value is None and isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1:
            value = math.log(share)
        if isinstance(token, str) and value is not None and _is_log_prob(value):
            found[token] = float(value)
    return found


def _is_log_prob(value: Any) -> bool:
    """Rounding may leave a log-prob a little above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value < 0.01


def reading_of(reply: WireReply, choices: Sequence[str]) -> ChoiceReading:
    """The verdict that a reply holds."""
    if reply.refused:
        return ChoiceReading(None, "the endpoint refused to judge")
    words = [choice.strip() for choice in choices]
    found = _from_alternatives(reply, words)
    if found is not None:
        return ChoiceReading(tuple(found))
    said = _said(reply.text, words)
    if said is None:
        cut = ", which was cut off" if reply.finish == "length" else ""
        return ChoiceReading(None, f"a reply that is no choice{cut}")
    return ChoiceReading(tuple(0.0 if word == said else -math.inf for word in words), read_from="text")


def _from_alternatives(reply: WireReply, words: Sequence[str]) -> list[float] | None:
    """The choices' log-probs at the first position whose token is more than space and punctuation."""
    at = next((i for i, token in enumerate(reply.taken) if token.strip(_AROUND)), None)
    if at is None or at >= len(reply.alternatives):
        return None
    here = reply.alternatives[at]
    found = [_summed(here, word) for word in words]
    if "10" in words and "1" in words and not math.isfinite(found[words.index("10")]):
        _split_ten(reply, at, words, found)
    if not any(math.isfinite(value) for value in found):
        return None
    # A choice beyond the listed alternatives is at most as likely as the last of them, and as all that is left.
    missing = [i for i, value in enumerate(found) if not math.isfinite(value)]
    left = 1.0 - math.fsum(math.exp(value) for value in here.values())
    if missing and left > 0:
        bound = min(*here.values(), math.log(left / len(missing))) if len(here) > 1 else math.log(left / len(missing))
        found = [bound if i in missing else value for i, value in enumerate(found)]
    return found


def _summed(here: Alternatives, word: str) -> float:
    """The log-prob of all tokens that are this choice, with a space or a bracket around it or not."""
    same = [value for token, value in here.items() if _is(token, word)]
    return math.log(math.fsum(map(math.exp, same))) if same else -math.inf


def _split_ten(reply: WireReply, at: int, words: Sequence[str], found: list[float]) -> None:
    """Tell 1 from 10 where 10 is two tokens: by the alternatives after the 1."""
    one, ten = words.index("1"), words.index("10")
    if reply.taken[at].strip(_AROUND) != "1" or at + 1 >= len(reply.alternatives):
        return
    zero = min(0.0, _summed(reply.alternatives[at + 1], "0"))
    share = math.exp(zero) if math.isfinite(zero) else 0.0
    whole = found[one]
    found[ten] = whole + zero
    found[one] = whole + math.log1p(-share) if share < 1 else -math.inf


def _is(token: str, word: str) -> bool:
    bare = token.strip(_AROUND)
    return bare == word or (len(word) > 1 and bare.casefold() == word.casefold())


def _said(text: str, words: Sequence[str]) -> str | None:
    """The choice that a text is, and nothing else but space and punctuation; or the one in JSON {"choice": …}."""
    bare = text.strip()
    if bare.startswith("{"):
        try:
            value = _mapping(json.loads(bare)).get("choice")
        except (ValueError, RecursionError):
            return None
        bare = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if len(bare) > 40:
        return None
    bare = re.sub(r"\s+", " ", bare).strip(_AROUND)
    return next((word for word in words if _is(bare, word)), None)
