"""The model that people write to in red-teaming: an endpoint that speaks the OpenAI API, such as `steersman serve`.

A project names it (`responder`), or whoever runs the studio does for all projects (--responder); a key is sent to the
latter only. Addresses are checked as those of webhooks are.
"""

import asyncio
import http.client
import json
import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from steersman.errors import ServiceError, UsageError
from steersman.records import Completion, Message
from steersman.reward.exchange import Endpoint, checked_addresses, parse_url, post
from steersman.studio.problems import Problem
from steersman.studio.settings import StudioSettings

log = logging.getLogger("steersman.studio")

TIMEOUT = 120.0
AT_ONCE = 32
ANSWERS = 2
DEFAULTS: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 512}
CHAT = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Responder:
    """A model behind an address, and what its answers are sampled by. `system` begins each conversation."""

    endpoint: Endpoint
    model: str
    system: str
    sampling: Mapping[str, Any]
    token: str | None


def responder_of(project: Mapping[str, Any], settings: StudioSettings) -> Responder | None:
    """The model of a project with these settings: its own, or the studio's; None where neither has one."""
    terms = project.get("responder") or {}
    place = str(terms.get("model") or "")
    endpoint, model = parse_place(place or settings.responder, settings) if place or settings.responder else (None, "")
    if endpoint is None:
        return None
    sampling = {name: terms.get(name, default) for name, default in DEFAULTS.items()}
    token = None if place else settings.responder_token
    return Responder(endpoint, model, str(terms.get("system") or ""), sampling, token)


def parse_place(place: str, settings: StudioSettings) -> tuple[Endpoint, str]:
    """The endpoint and the model's name in URL#NAME. An address that may not be reached is an error."""
    url, mark, name = place.partition("#")
    if not mark or not name.strip():
        raise UsageError(f"{place[:200]!r} names no model; expected URL#NAME, such as http://127.0.0.1:8000/v1#policy")
    if "$" in url:
        # An address of a reward may name a variable of the environment; this one may come from far away.
        raise UsageError("the address of a model that answers holds no '$'")
    base = url.rstrip("/")
    endpoint = parse_url(base if base.endswith(CHAT) else base + CHAT, settings.allowed, setting="the studio's allow")
    with suppress(OSError):  # a name that does not resolve now may do so later
        checked_addresses(endpoint, secret=False)
    return endpoint, name.strip()


class Responses:
    """Asks responders, on threads of its own: a slow model does not hold up the studio."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="responder")
        self._lock = threading.Lock()
        self._asking: set[int] = set()

    async def two(self, responder: Responder, messages: Sequence[Message], person_id: int) -> tuple[Completion, ...]:
        """Two answers, each with a seed of its own. A person waits for one pair at a time."""
        with self._lock:
            if person_id in self._asking:
                told = "the model is still answering your last message; wait a moment"
                raise Problem(429, "busy", told, headers={"Retry-After": "2"})
            self._asking.add(person_id)
        try:
            loop, seed = asyncio.get_running_loop(), secrets.randbits(31)
            jobs = [loop.run_in_executor(self._pool, ask, responder, messages, seed + i) for i in range(ANSWERS)]
            return tuple(await asyncio.gather(*jobs))
        finally:
            with self._lock:
                self._asking.discard(person_id)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def ask(responder: Responder, messages: Sequence[Message], seed: int) -> Completion:
    """One answer to a conversation."""
    limit = "max_tokens"
    for _ in range(2):
        reply = _posted(responder, body_of(responder, messages, seed, limit))
        if reply.status == 400 and limit == "max_tokens" and b"max_completion_tokens" in reply.body:
            limit = "max_completion_tokens"
            continue
        break
    if reply.status != 200:
        log.warning(
            "%s answered with %d: %s", responder.endpoint.shown, reply.status, _beginning(responder, reply.body)
        )
        raise ServiceError(f"the model did not answer (status {reply.status}); {NEXT}")
    try:
        said = json.loads(reply.body)
        choice = said["choices"][0]
        text = choice["message"]["content"] or ""
    except (ValueError, LookupError, TypeError, RecursionError):
        log.warning("%s gave no chat completion: %s", responder.endpoint.shown, _beginning(responder, reply.body))
        raise ServiceError(f"the model's reply cannot be read; {NEXT}") from None
    sampling = dict(responder.sampling) | {"finish": str(choice.get("finish_reason") or "")}
    if isinstance(mark := said.get("system_fingerprint"), str):
        sampling["weights"] = mark[:200]
    return Completion(_storable(str(text)), model=responder.model, sampling=sampling, seed=seed)


def _storable(text: str) -> str:
    """Characters that no database keeps, NUL and halves of a pair, as the replacement character."""
    return "".join("\ufffd" if one == "\0" or "\ud800" <= one <= "\udfff" else one for one in text)


NEXT = "try again, and tell an admin of the project if it stays so"


def body_of(responder: Responder, messages: Sequence[Message], seed: int, limit: str) -> bytes:
    sampling = dict(responder.sampling)
    sampling[limit] = sampling.pop("max_tokens")
    said = [{"role": one.role, "content": one.content} for one in messages]
    return json.dumps({"model": responder.model, "messages": said, "seed": seed, **sampling}).encode()


def _posted(responder: Responder, body: bytes) -> Any:
    headers = {"User-Agent": "steersman"} | (
        {} if responder.token is None else {"Authorization": f"Bearer {responder.token}"}
    )
    try:
        return post(responder.endpoint, body, headers, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        log.warning("%s cannot be reached: %s", responder.endpoint.shown, error)
        raise ServiceError(f"the model cannot be reached now; {NEXT}") from error


def _beginning(responder: Responder, body: bytes) -> str:
    return responder.endpoint.without_secrets(body[:300].decode("utf-8", "replace"))
