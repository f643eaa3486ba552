"""A scorer behind HTTP: answers are sent in batches, and no answer is scored (and charged) twice.

A request is {"items": [{"id", "prompt", "messages", "answer", "metadata"}, …]}. Its reply is {"scores": […]}: a number
for each item in their order, or objects {"id", "score", "parts", "note"} in any order. An address that ends with
/classify is asked as vLLM's is (see `classify`). A failed request is retried with exponential backoff under the same
Idempotency-Key. Replies are cached, on disk if the caller passes such a cache.
"""

import hashlib
import json
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from steersman.errors import DataError, ServiceError
from steersman.reward.classify import classify_body, model_in, read_classify, speaks_classify
from steersman.reward.function import ARGUMENTS
from steersman.reward.scorer import Item, Score, describe_item
from steersman.reward.service import RetryableError, Service, ServiceOptions, beginning

SENT = ("prompt", "messages", "answer", "metadata")

Batch = dict[str, Item]
"""Items by key."""


@runtime_checkable
class ReplyCache(Protocol):
    """Earlier replies by an item's key: `runs.replies.Replies`, or a dict within one process."""

    def get(self, key: str, /) -> Mapping[str, Any] | None: ...
    def update(self, found: Mapping[str, Mapping[str, Any]], /) -> None: ...
    def values(self) -> Collection[Mapping[str, Any]]: ...


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

    @property
    def service(self) -> ServiceOptions:
        return ServiceOptions(self.at_once, self.timeout, self.patience, self.allowed, self.token, "scorer.http")


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
        self._service = Service(url, options.service, notice=notice, first_wait=first_wait)
        self.name = name or self._service.endpoint.host
        self._options, self._remembered = options, remembered
        self._classify = speaks_classify(url)
        self._model = model_in(url) if self._classify else None
        self._batch_size = 1 if self._classify else options.batch_size
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: Batch = {}
        self._prefetched: dict[str, Future[Batch | None]] = {}
        self._prefetch_failed = threading.Event()

    def score(self, items: Sequence[Item]) -> list[Score]:
        keyed = [(self._key(item), item) for item in items]
        failed = self._finish_prefetched()
        missing: Batch = {key: item for key, item in keyed if self._remembered.get(key) is None}
        # A failed batch is sent again unchanged, under the same Idempotency-Key: it may have been charged already.
        again = [batch for batch in failed if batch.keys() <= missing.keys()]
        rest = {key: item for key, item in missing.items() if not any(key in batch for batch in again)}
        if missing:
            batches = [*again, *_batches(rest, self._batch_size)]
            self._service.all([partial(self._ask, batch) for batch in batches])
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
        while len(self._waiting) >= self._batch_size and not self._prefetch_failed.is_set():
            if sum(not sent.done() for sent in dict.fromkeys(self._prefetched.values())) >= self._options.at_once:
                return
            batch = next(_batches(self._waiting, self._batch_size))
            self._pool = self._pool or ThreadPoolExecutor(self._options.at_once)
            sent = self._pool.submit(self._try, batch)
            for key in batch:
                self._prefetched[key] = sent
                del self._waiting[key]

    def _try(self, batch: Batch) -> Batch | None:
        """Send a batch once; returns the batch if there was no usable reply."""
        try:
            self._remembered.update(self._read(self._service.once(*self._request(batch)).body, list(batch)))
        except RetryableError as error:
            self._service.note_failure(error)
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

    def _ask(self, batch: Batch, cancelled: threading.Event) -> None:
        """Send one batch and retry until there is a reply, a refusal, or `patience` has passed."""
        body, headers = self._request(batch)

        def attempt() -> None:
            self._remembered.update(self._read(self._service.once(body, headers).body, list(batch)))

        self._service.until_usable(attempt, f"{len(batch)} answers", cancelled)

    def _request(self, batch: Batch) -> tuple[bytes, dict[str, str]]:
        key = hashlib.sha256("".join(batch).encode()).hexdigest()[:32]
        if self._classify:
            return classify_body(next(iter(batch.values())), self._model), self._service.headers(key)
        items = [{"id": one, **{name: ARGUMENTS[name](*item) for name in SENT}} for one, item in batch.items()]
        return json.dumps({"items": items}).encode(), self._service.headers(key)

    def _read(self, body: bytes, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        return read_classify(body, keys) if self._classify else parse_reply(body, keys)

    def _key(self, item: Item) -> str:
        """The cache key of an item: a hash of its content and the service's URL."""
        prompt, answer = item
        content = [
            self._service.endpoint.url,
            prompt.text,
            [[m.role, m.content] for m in prompt.messages],
            prompt.metadata,
            answer,
        ]
        # the other form does not send it, and its keys are those of replies that were kept before
        content += [prompt.continued] if self._classify else []
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
        raise RetryableError(f"a reply without scores: {beginning(body)}") from None
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


def _batches(missing: Batch, size: int) -> Iterator[Batch]:
    keys = list(missing)
    for start in range(0, len(keys), size):
        yield {key: missing[key] for key in keys[start : start + size]}
