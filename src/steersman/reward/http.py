"""A scorer behind HTTP: answers are sent in batches, and no answer is scored (and charged) twice.

A request is {"items": [{"id", "prompt", "messages", "answer", "metadata"}, …]}. Its reply is {"scores": […]}: a number
for each item in their order, or objects {"id", "score", "parts", "note"} in any order. A failed request is retried with
exponential backoff under the same Idempotency-Key. Replies are cached, on disk if the caller passes such a cache.
"""

import email.utils
import hashlib
import http.client
import json
import math
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steersman.errors import DataError, ServiceError
from steersman.reward.exchange import Endpoint, Reply, checked_addresses, parse_url, post
from steersman.reward.function import ARGUMENTS
from steersman.reward.scorer import Item, Score, describe_item
from steersman.secrets import HIDDEN

SENT = ("prompt", "messages", "answer", "metadata")
# Request Timeout, Too Early, Too Many Requests; besides all of 5xx
RETRYABLE = (408, 425, 429)
MAX_WAIT = 60.0

Batch = dict[str, Item]
"""Items by key."""


@runtime_checkable
class ReplyCache(Protocol):
    """Earlier replies by an item's key: `runs.replies.Replies`, or a dict within one process."""

    def get(self, key: str, /) -> Mapping[str, Any] | None: ...
    def update(self, found: Mapping[str, Mapping[str, Any]], /) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How requests are sent.

    `timeout` is for one request, `patience` for a batch with all its retries, in seconds. `at_once` is the number of
    concurrent requests. `allowed` are private addresses that may be reached; `token` is sent in the Authorization
    header.
    """

    batch_size: int
    at_once: int
    timeout: float
    patience: float
    allowed: tuple[str, ...]
    token: str | None


class RetryableError(Exception):
    """A missing or unusable reply that a retry may fix; `wait` is the service's Retry-After, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class HttpScorer:
    """Scores answers by an HTTP service.

    `first_wait`: mean wait before the first retry, in seconds; it doubles each time.
    """

    def __init__(
        self,
        url: str,
        options: HttpOptions,
        *,
        remembered: ReplyCache,
        notice: Callable[[str], None],
        name: str = "",
        first_wait: float = 0.5,
    ) -> None:
        self._endpoint: Endpoint = parse_url(url, options.allowed)
        self.name = name or self._endpoint.host
        self._options, self._remembered, self._notice = options, remembered, notice
        self._first_wait = first_wait
        self._retries: list[str] = []
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: Batch = {}
        self._prefetched: dict[str, Future[Batch | None]] = {}
        self._prefetch_failed = threading.Event()
        self._not_before = 0.0
        self._random = random.Random()
        # A forbidden address is an error before the run starts; a name that does not resolve now may do so later.
        with suppress(OSError):
            checked_addresses(self._endpoint, secret=options.token is not None)

    def score(self, items: Sequence[Item]) -> list[Score]:
        keyed = [(self._key(item), item) for item in items]
        failed = self._finish_prefetched()
        missing: Batch = {key: item for key, item in keyed if self._remembered.get(key) is None}
        # A failed batch is sent again unchanged, under the same Idempotency-Key: it may have been charged already.
        again = [batch for batch in failed if batch.keys() <= missing.keys()]
        rest = {key: item for key, item in missing.items() if not any(key in batch for batch in again)}
        if missing:
            self._ask_all([*again, *_batches(rest, self._options.batch_size)])
        return [_score(self._remembered.get(key)) for key, _ in keyed]

    def ahead(self) -> Callable[[Sequence[Item]], None]:
        return self.begin

    def begin(self, items: Sequence[Item]) -> None:
        """Prefetch: send items, without waiting, as soon as they fill a batch and a request slot is free.

        There are no retries here. After the first failure nothing more is sent; `score` retries and reports.
        """
        for item in items:
            key = self._key(item)
            if key not in self._prefetched and self._remembered.get(key) is None:
                self._waiting[key] = item
        while len(self._waiting) >= self._options.batch_size and not self._prefetch_failed.is_set():
            if sum(not sent.done() for sent in dict.fromkeys(self._prefetched.values())) >= self._options.at_once:
                return
            batch = next(_batches(self._waiting, self._options.batch_size))
            self._pool = self._pool or ThreadPoolExecutor(self._options.at_once)
            sent = self._pool.submit(self._try, batch)
            for key in batch:
                self._prefetched[key] = sent
                del self._waiting[key]

    def _try(self, batch: Batch) -> Batch | None:
        """Send a batch once; returns the batch if there was no usable reply."""
        try:
            self._remembered.update(parse_reply(self._once(*self._request(batch)).body, list(batch)))
        except RetryableError as error:
            self._retries.append(self._said(error)[:80])
            self._not_before = max(self._not_before, time.monotonic() + error.wait)
        except ServiceError:
            pass
        else:
            return None
        self._prefetch_failed.set()
        return batch

    def _finish_prefetched(self) -> list[Batch]:
        """Wait for prefetch requests to end; returns the batches without a usable reply."""
        prefetched, self._prefetched, self._waiting = self._prefetched, {}, {}
        results = [sent.result() for sent in dict.fromkeys(prefetched.values())]
        self._prefetch_failed.clear()
        return [batch for batch in results if batch is not None]

    def _ask_all(self, batches: Sequence[Batch]) -> None:
        """Send all batches, several at once; the first one that finally fails cancels the others."""
        cancelled = threading.Event()
        with ThreadPoolExecutor(self._options.at_once) as pool:
            futures = [pool.submit(self._ask, batch, cancelled) for batch in batches]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                cancelled.set()
                for future in futures:
                    future.cancel()
        self._report_retries()
        failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
        if failures:
            raise failures[0]

    def _report_retries(self) -> None:
        retries, self._retries = self._retries, []
        if retries:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in Counter(retries).most_common(3))
            self._notice(f"{self._endpoint.shown}: {len(retries)} requests had to be repeated ({reasons})")

    def _ask(self, batch: Batch, cancelled: threading.Event) -> None:
        """Send one batch and retry until there is a reply, a refusal, or `patience` has passed."""
        body, headers = self._request(batch)
        began, attempt = time.monotonic(), 0
        # a Retry-After of the prefetch requests, within the patience
        cancelled.wait(min(self._not_before - began, self._options.patience))
        while not cancelled.is_set():
            attempt += 1
            try:
                reply = self._once(body, headers)
                return self._remembered.update(parse_reply(reply.body, list(batch)))
            except RetryableError as error:
                # Jitter of a factor 0.5 to 1.5, so that requests that failed together are not retried together.
                pause = min(MAX_WAIT, self._first_wait * 2 ** min(attempt - 1, 30)) * (0.5 + self._random.random())
                pause = max(pause, error.wait)
                if time.monotonic() - began + pause > self._options.patience:
                    raise ServiceError(
                        f"{self._endpoint.shown} gave no usable reply for {len(batch)} answers in {attempt} attempts "
                        f"over {time.monotonic() - began:.0f} s; the last error: {self._said(error)}. The replies "
                        "so far are kept. Check the service, then run the same command again; scorer.http.patience "
                        "sets how long to retry"
                    ) from error
                self._retries.append(self._said(error)[:80])
                cancelled.wait(pause)
        return None

    def _once(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            reply = post(self._endpoint, body, headers, timeout=self._options.timeout)
        except ssl.SSLCertVerificationError as error:
            raise ServiceError(
                f"the certificate of {self._endpoint.shown} could not be verified: {error.verify_message}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"{type(error).__name__}: {error}") from error
        if reply.status in RETRYABLE or reply.status >= 500:
            raise RetryableError(f"status {reply.status}", parse_retry_after(reply.retry_after))
        if 300 <= reply.status < 400:
            raise ServiceError(
                f"{self._endpoint.shown} answered {reply.status}, a redirect, which is not followed. Give the target's "
                "URL"
            )
        if reply.status >= 400:
            raise ServiceError(
                f"{self._endpoint.shown} refuses the request with status {reply.status}: "
                f"{self._said(_beginning(reply.body))}. A retry would not help; check what the service expects"
            )
        return reply

    def _said(self, text: object) -> str:
        """What a service said, for a message. A service may repeat the secret that it refuses."""
        said = self._endpoint.without_secrets(str(text))
        return said.replace(self._options.token, HIDDEN) if self._options.token else said

    def _request(self, batch: Batch) -> tuple[bytes, dict[str, str]]:
        items = [{"id": key, **{name: ARGUMENTS[name](*item) for name in SENT}} for key, item in batch.items()]
        key = hashlib.sha256("".join(batch).encode()).hexdigest()[:32]
        headers = {"Idempotency-Key": key, "Accept": "application/json", "User-Agent": "steersman"}
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {self._options.token}"
        return json.dumps({"items": items}).encode(), headers

    def _key(self, item: Item) -> str:
        """The cache key of an item: a hash of its content and the service's URL."""
        prompt, answer = item
        content = [
            self._endpoint.url,
            prompt.text,
            [[m.role, m.content] for m in prompt.messages],
            prompt.metadata,
            answer,
        ]
        try:
            return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the metadata of a prompt cannot be sent as JSON ({error}) for {describe_item(item)}; expected texts, "
                "numbers, lists and objects"
            ) from error


def parse_reply(body: bytes, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The reply's score, parts and note of each item by key; `RetryableError` if not every item has a finite score."""
    try:
        scores = json.loads(body)["scores"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RetryableError(f"a reply without scores: {_beginning(body)}") from None
    if not isinstance(scores, list) or len(scores) != len(keys):
        seen = len(scores) if isinstance(scores, list) else type(scores).__name__
        raise RetryableError(f"a reply with {seen} scores for {len(keys)} answers")
    ids = [score["id"] for score in scores if isinstance(score, dict) and "id" in score]
    if ids and (len(ids) != len(keys) or set(map(str, ids)) != set(keys)):
        raise RetryableError("a reply whose ids are not those of the request")
    return {str(score["id"]) if ids else key: _checked(score) for key, score in zip(keys, scores, strict=True)}


def _checked(score: Any) -> dict[str, Any]:
    entry = score if isinstance(score, dict) else {"score": score}
    parts = entry.get("parts") or {}
    if not isinstance(parts, dict):
        raise RetryableError(f"parts of a score that are no object: {str(parts)[:60]!r}")
    numbers = {
        "score": _finite(entry.get("score")),
        "parts": {str(name): _finite(part) for name, part in parts.items()},
    }
    return {**numbers, "note": str(entry.get("note") or "")}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
        raise RetryableError(f"a score that is no finite number: {str(value)[:40]!r}")
    return float(value)


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _score(reply: Mapping[str, Any] | None) -> Score:
    assert reply is not None, "every batch was answered"
    return Score(float(reply["score"]), dict(reply["parts"]), reply["note"])


def parse_retry_after(retry_after: str) -> float:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3); 0 if it cannot be parsed."""
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _batches(missing: Batch, size: int) -> Iterator[Batch]:
    keys = list(missing)
    for start in range(0, len(keys), size):
        yield {key: missing[key] for key in keys[start : start + size]}


def _beginning(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
