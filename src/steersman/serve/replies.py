"""The replies of the OpenAI API, as plain dictionaries: whole ones, and the chunks of a stream."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steersman.rollout.live_row import LiveRow, LiveToken
from steersman.serve.answering import RowText, reason_of


def new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def usage_of(rows: Sequence[LiveRow], prompts: int) -> dict[str, Any]:
    """Tokens of these prompts and of all their answers."""
    answered = sum(len(row.tokens) for row in rows)
    return {"prompt_tokens": prompts, "completion_tokens": answered, "total_tokens": prompts + answered}


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """One of the two kinds of replies, for one request."""

    chat: bool
    id: str
    model: str
    created: int
    tokeniser: Any
    tools: bool = False

    @staticmethod
    def new(model: str, tokeniser: Any, *, chat: bool, tools: bool = False) -> "ReplyForm":
        return ReplyForm(chat, new_id("chatcmpl" if chat else "cmpl"), model, int(time.time()), tokeniser, tools)

    def _head(self, *, stream: bool) -> dict[str, Any]:
        kind = "text_completion" if not self.chat else "chat.completion.chunk" if stream else "chat.completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, texts: Sequence[RowText], prompts: int) -> dict[str, Any]:
        choices = [self._whole_choice(i, text) for i, text in enumerate(texts)]
        return {
            **self._head(stream=False),
            "choices": choices,
            "usage": usage_of([one.row for one in texts], prompts),
            **self._remark(),
        }

    def _remark(self) -> dict[str, Any]:
        if not self.tools:
            return {}
        return {"steersman": {"notice": "tool calls are not parsed: they are in the text, as the model writes them"}}

    def _whole_choice(self, index: int, text: RowText) -> dict[str, Any]:
        said = text.news() if not text.over else ""
        words = text.text or said
        end = {"finish_reason": reason_of(text.row), "logprobs": self._logprobs(text.row, slice(None), 0)}
        if self.chat:
            return {"index": index, "message": {"role": "assistant", "content": words, "refusal": None}, **end}
        return {"index": index, "text": words, **end}

    def opening(self, count: int) -> list[dict[str, Any]]:
        """What a chat's stream begins with: the role of each answer."""
        if not self.chat:
            return []
        return [self._chunk(i, {"role": "assistant", "content": ""}, None, None) for i in range(count)]

    def news(self, index: int, text: RowText) -> dict[str, Any] | None:
        """A chunk with what is new in an answer; None if there is nothing to tell yet."""
        start = len(text.text)
        new = text.news()
        if not new and not text.over:
            return None
        logprobs = self._logprobs(text.row, text.take_tokens(), start)
        return self._chunk(index, {"content": new}, logprobs, reason_of(text.row) if text.over else None)

    def _chunk(
        self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None
    ) -> dict[str, Any]:
        part = {"delta": delta} if self.chat else {"text": delta["content"]}
        choice = {"index": index, **part, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head(stream=True), "choices": [choice]}

    def last(self, texts: Sequence[RowText], prompts: int) -> dict[str, Any]:
        usage = usage_of([one.row for one in texts], prompts)
        return {**self._head(stream=True), "choices": [], "usage": usage, **self._remark()}

    def _logprobs(self, row: LiveRow, which: slice, start: int) -> dict[str, Any] | None:
        if row.alternatives is None:
            return None
        tokens = row.tokens[which]
        if self.chat:
            return {"content": [self._chat_token(token) for token in tokens], "refusal": None}
        names = [self._name(token.id) for token in tokens]
        offsets = [start + sum(map(len, names[:i])) for i in range(len(names))]
        tops = [{self._name(id): value for id, value in token.alternatives} for token in tokens]
        return {
            "tokens": names,
            "token_logprobs": [token.plain_log_prob for token in tokens],
            "top_logprobs": tops if row.alternatives else None,
            "text_offset": offsets,
        }

    def _chat_token(self, token: LiveToken) -> dict[str, Any]:
        return {
            **self._named(token.id, token.plain_log_prob),
            "top_logprobs": [self._named(id, value) for id, value in token.alternatives],
        }

    def _named(self, id: int, value: float) -> dict[str, Any]:
        name = self._name(id)
        return {"token": name, "logprob": value, "bytes": None if "\ufffd" in name else list(name.encode())}

    def _name(self, id: int) -> str:
        return self.tokeniser.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
