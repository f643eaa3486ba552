"""A judge behind an endpoint that speaks the OpenAI chat or completions API.

Each reply is kept before it is used, under a hash of what was asked, so that nothing is asked twice. The key comes from
the environment and is kept nowhere. What an endpoint refuses (log-probs, structured output, a parameter's name) is left
out from then on.
"""

import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from steersman.constitution.render import ModelRequest
from steersman.errors import UsageError
from steersman.judges.reading import ChoiceReading
from steersman.judges.spending import Budget, Pace, Spent, estimated_tokens
from steersman.judges.wire import Form, WireReply, body_of, read_reply, reading_of
from steersman.reward.http import ReplyCache
from steersman.reward.service import Refused, Service, ServiceOptions
from steersman.secrets import conceal
from steersman.settings.judge import EndpointSettings

SETTING = "judge.endpoint"
FOR_A_CHOICE = 8
"""Tokens of a reply that is a choice: room for punctuation before it, and for JSON around it."""
FOR_JSON = 32


class EndpointJudge:
    """A model behind an endpoint. `name` is the model's name."""

    def __init__(
        self,
        place: str,
        settings: EndpointSettings,
        *,
        token: str | None,
        remembered: ReplyCache,
        notice: Callable[[str], None],
        first_wait: float = 0.5,
        setting: str = SETTING,
    ) -> None:
        url, name = parse_place(place, settings.api)
        options = ServiceOptions(
            settings.at_once, settings.timeout, settings.patience, tuple(settings.allow), token, setting
        )
        self.name = name
        self._service = Service(url, options, notice=notice, first_wait=first_wait)
        self._remembered, self._notice = remembered, notice
        self._form = Form(settings.api == "chat", settings.logprobs, settings.structured)
        self._known = False  # whether it is known what the endpoint offers
        self._lock = threading.Lock()
        mine = [reply for reply in remembered.values() if "calls" in reply]
        spent = Spent(sum(int(one["calls"]) for one in mine), sum(int(one["tokens"]) for one in mine))
        self.budget = Budget(settings.max_calls, settings.max_tokens, spent, setting=setting)
        self._pace = Pace(settings.calls_per_minute, settings.tokens_per_minute)

    def read(self, requests: Sequence[ModelRequest]) -> list[ChoiceReading]:
        """The choices' log-probs, or the choice itself where the endpoint gives none."""
        return [_reading(reply) for reply in self._all(requests, FOR_A_CHOICE)]

    def write(self, requests: Sequence[ModelRequest], max_tokens: int) -> list[str]:
        return [str(reply["text"]) for reply in self._all(requests, max_tokens)]

    def estimate(self, requests: Sequence[ModelRequest], max_tokens: int = FOR_A_CHOICE) -> tuple[int, int]:
        """How many calls these requests need that were not made yet, and about how many tokens."""
        missing = {
            key: request for request in requests if self._remembered.get(key := self._key(request, max_tokens)) is None
        }
        tokens = sum(estimated_tokens(request.text) + max_tokens for request in missing.values())
        return len(missing), tokens

    def _all(self, requests: Sequence[ModelRequest], max_tokens: int) -> list[Mapping[str, Any]]:
        keys = [self._key(request, max_tokens) for request in requests]
        missing = {
            key: request for key, request in zip(keys, requests, strict=True) if self._remembered.get(key) is None
        }
        jobs = [partial(self._ask, key, request, max_tokens) for key, request in missing.items()]
        if jobs and not self._known:
            # One alone: it shows what the endpoint offers, and a wrong key is refused once and not many times.
            self._service.all(jobs[:1])
            jobs = jobs[1:]
        if jobs:
            self._service.all(jobs)
        found = [self._remembered.get(key) for key in keys]
        return [reply for reply in found if reply is not None]

    def _ask(self, key: str, request: ModelRequest, max_tokens: int, cancelled: threading.Event) -> None:
        attempt = partial(self._attempt, key, request, max_tokens, cancelled)
        self._service.until_usable(attempt, "a verdict" if request.choices else "a reply", cancelled)

    def _attempt(self, key: str, request: ModelRequest, max_tokens: int, cancelled: threading.Event) -> None:
        """One call, and one more for each thing that it refuses. The reply is kept."""
        headers, calls = self._service.headers(key), 0
        while True:
            form = self._form
            room = FOR_JSON if request.choices and form.structured and not form.logprobs else max_tokens
            body = body_of(request, self.name, form, max_tokens=room)
            about = estimated_tokens(request.text) + room
            self._pace.wait(about, cancelled)
            self.budget.begin()
            calls += 1
            try:
                reply = read_reply(self._service.once(json.dumps(body).encode(), headers).body)
            except Refused as refusal:
                self._leave_out(refusal, form)
                continue
            tokens = about if reply.tokens is None else reply.tokens
            self.budget.used(tokens)
            self._learn(request, reply, form)
            kept = {"text": reply.text, "calls": calls, "tokens": tokens}
            if request.choices:
                kept |= _plain(reading_of(reply, request.choices))
            self._remembered.update({key: kept})
            return

    def _learn(self, request: ModelRequest, reply: WireReply, form: Form) -> None:
        """Note that the endpoint ignores the wish for log-probs, as many do."""
        if request.choices:
            self._known = True
            if form.logprobs and not reply.alternatives:
                self._change(
                    form, "gives no log-probs: choices are read from the text, without probabilities", logprobs=0
                )

    def _leave_out(self, refusal: Refused, form: Form) -> None:
        """The form without what was refused; raises if nothing of it can be left out."""
        said = refusal.body.casefold()
        if refusal.status not in (400, 404, 415, 422):
            raise refusal
        if form.logprobs and ("logprobs" in said or "top_logprobs" in said):
            less = 5 if form.logprobs > 5 and "top_logprobs" in said else 0
            words = (
                f"takes at most {less} alternatives" if less else "refuses log-probs: choices are read from the text"
            )
            return self._change(form, words, logprobs=less)
        if form.limit_name == "max_tokens" and "max_completion_tokens" in said:
            return self._change(form, "takes max_completion_tokens", limit_name="max_completion_tokens")
        if form.sends_temperature and "temperature" in said:
            return self._change(form, "refuses a temperature; its verdicts may vary", sends_temperature=False)
        if form.structured and not form.logprobs and ("response_format" in said or "json_schema" in said):
            return self._change(form, "refuses structured output", structured=False)
        raise refusal

    def _change(self, form: Form, words: str, **parts: Any) -> None:
        with self._lock:
            if self._form == form:
                self._form = replace(form, **parts)
                self._notice(f"{self._service.endpoint.shown} {words}")

    def _key(self, request: ModelRequest, max_tokens: int) -> str:
        """A hash of what is asked, of whom. Not of how: what an endpoint refuses changes no key."""
        content = [
            self._service.endpoint.url,
            self.name,
            [[one.role, one.content] for one in request.messages],
            request.opening,
            list(request.choices),
            None if request.choices else max_tokens,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def parse_place(place: str, api: str) -> tuple[str, str]:
    """The URL to post to, and the model's name, of URL#name."""
    url, mark, name = place.partition("#")
    if not mark or not name.strip():
        raise UsageError(
            f"judge.model={conceal(place)} names no model; expected URL#name, such as https://host/v1#judge-1"
        )
    ending = "/chat/completions" if api == "chat" else "/completions"
    base, question, query = url.partition("?")
    base = base.rstrip("/")
    for known in ("/chat/completions", "/completions"):
        base = base.removesuffix(known)
    return f"{base}{ending}{question}{query}", name.strip()


def _plain(reading: ChoiceReading) -> dict[str, Any]:
    """A reading for the file of replies: JSON knows no infinity."""
    values = None if reading.log_probs is None else [v if math.isfinite(v) else None for v in reading.log_probs]
    return {"log_probs": values, "problem": reading.problem, "read_from": reading.read_from}


def _reading(reply: Mapping[str, Any]) -> ChoiceReading:
    values = reply["log_probs"]
    known = None if values is None else tuple(-math.inf if value is None else float(value) for value in values)
    return ChoiceReading(known, str(reply["problem"]), str(reply["read_from"]))
