"""A reward behind HTTP: answers go out in batches, scores come back in their order, and no answer is paid for twice.

A request is {"items": [{"id", "prompt", "messages", "answer", "metadata"}, …]}. Its reply is {"scores": […]}: a number for each
item in their order, or objects {"id", "score", "parts", "note"} in any order. What fails is asked again, after a wait that
doubles, under the same Idempotency-Key; what was answered is remembered, on disk where the caller gives such a memory.
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
from steersman.reward.exchange import Place, Reply, checked_addresses, place_of, post
from steersman.reward.function import ONE
from steersman.reward.scorer import Item, Score, told

SENT = ("prompt", "messages", "answer", "metadata")
# Request Timeout, Too Early, Too Many Requests; besides all of 5xx
PASSING = (408, 425, 429)
LONGEST_WAIT = 60.0

Batch = dict[str, Item]
"""Items by their key."""


@runtime_checkable
class Remembered(Protocol):
    """Earlier replies by an item's key: `runs.replies.Replies`, or a dict for as long as the process lives."""

    def get(self, key: str, /) -> Mapping[str, Any] | None: ...
    def update(self, found: Mapping[str, Mapping[str, Any]], /) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`timeout` is for one request and `patience` for a batch with all its repetitions, in seconds. `allowed` are addresses that
    may be reached although they are private; `token` goes into the header Authorization."""

    batch_size: int
    at_once: int
    timeout: float
    patience: float
    allowed: tuple[str, ...]
    token: str | None


class Unusable(Exception):  # noqa: N818
    """A reply, or the lack of one, that another attempt may mend; `wait` is what the service asked for, in seconds."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait


class HttpScorer:
    """`first_wait` is the mean wait before the first repetition, in seconds; each later one is twice as long."""

    def __init__(
        self,
        url: str,
        options: HttpOptions,
        *,
        remembered: Remembered,
        notice: Callable[[str], None],
        name: str = "",
        first_wait: float = 0.5,
    ) -> None:
        self._place: Place = place_of(url, options.allowed)
        self.name = name or self._place.host
        self._options, self._remembered, self._notice = options, remembered, notice
        self._first_wait = first_wait
        self._repeated: list[str] = []
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: Batch = {}
        self._begun: dict[str, Future[Batch | None]] = {}
        self._failed_ahead = threading.Event()
        self._not_before = 0.0
        self._random = random.Random()
        # What must not be asked is said before a run begins; a name that nobody answers for just now may be known later.
        with suppress(OSError):
            checked_addresses(self._place, secret=options.token is not None)

    def score(self, items: Sequence[Item]) -> list[Score]:
        keyed = [(self._key(item), item) for item in items]
        failed = self._end_what_was_begun()
        missing: Batch = {key: item for key, item in keyed if self._remembered.get(key) is None}
        # What was sent before is sent again as it was, under the key it had: it may have been paid for.
        again = [batch for batch in failed if batch.keys() <= missing.keys()]
        rest = {key: item for key, item in missing.items() if not any(key in batch for batch in again)}
        if missing:
            self._ask_all([*again, *_batches(rest, self._options.batch_size)])
        return [_score(self._remembered.get(key)) for key, _ in keyed]

    def ahead(self) -> Callable[[Sequence[Item]], None]:
        return self.begin

    def begin(self, items: Sequence[Item]) -> None:
        """Send these as soon as they fill a request and one may be open, once, and go on. After the first failure nothing more is sent: it is left
        for `score` to ask again, with its waits and its patience, and to tell."""
        for item in items:
            key = self._key(item)
            if key not in self._begun and self._remembered.get(key) is None:
                self._waiting[key] = item
        while len(self._waiting) >= self._options.batch_size and not self._failed_ahead.is_set():
            if sum(not sent.done() for sent in dict.fromkeys(self._begun.values())) >= self._options.at_once:
                return
            batch = next(_batches(self._waiting, self._options.batch_size))
            self._pool = self._pool or ThreadPoolExecutor(self._options.at_once)
            sent = self._pool.submit(self._try, batch)
            for key in batch:
                self._begun[key] = sent
                del self._waiting[key]

    def _try(self, batch: Batch) -> Batch | None:
        """The batch, if it was not answered."""
        try:
            self._remembered.update(found_in(self._once(*self._request(batch)).body, list(batch)))
        except Unusable as why:
            self._repeated.append(str(why)[:80])
            self._not_before = max(self._not_before, time.monotonic() + why.wait)
        except ServiceError:
            pass
        else:
            return None
        self._failed_ahead.set()
        return batch

    def _end_what_was_begun(self) -> list[Batch]:
        """Wait for it; what was not answered."""
        begun, self._begun, self._waiting = self._begun, {}, {}
        results = [sent.result() for sent in dict.fromkeys(begun.values())]
        self._failed_ahead.clear()
        return [batch for batch in results if batch is not None]

    def _ask_all(self, batches: Sequence[Batch]) -> None:
        """All batches, several at once; the first that fails for good ends the others."""
        over = threading.Event()
        with ThreadPoolExecutor(self._options.at_once) as pool:
            asked = [pool.submit(self._ask, batch, over) for batch in batches]
            try:
                wait(asked, return_when=FIRST_EXCEPTION)
            finally:
                over.set()
                for future in asked:
                    future.cancel()
        self._say_what_was_repeated()
        failures = [error for future in asked if not future.cancelled() and (error := future.exception())]
        if failures:
            raise failures[0]

    def _say_what_was_repeated(self) -> None:
        repeated, self._repeated = self._repeated, []
        if repeated:
            whys = ", ".join(f"{count} × {why}" for why, count in Counter(repeated).most_common(3))
            self._notice(f"{self._place.url}: {len(repeated)} requests had to be repeated ({whys})")

    def _ask(self, batch: Batch, over: threading.Event) -> None:
        """One batch, until it is answered, refused, or patience is at its end."""
        body, headers = self._request(batch)
        began, attempt = time.monotonic(), 0
        # what the service asked for when it was asked ahead, as far as there is patience for it
        over.wait(min(self._not_before - began, self._options.patience))
        while not over.is_set():
            attempt += 1
            try:
                reply = self._once(body, headers)
                return self._remembered.update(found_in(reply.body, list(batch)))
            except Unusable as why:
                # Between half the wait and one and a half, so that those who failed together do not come back together.
                pause = min(LONGEST_WAIT, self._first_wait * 2 ** min(attempt - 1, 30)) * (0.5 + self._random.random())
                pause = max(pause, why.wait)
                if time.monotonic() - began + pause > self._options.patience:
                    raise ServiceError(
                        f"{self._place.url} gave no usable reply for {len(batch)} answers in {attempt} attempts over "
                        f"{time.monotonic() - began:.0f} s; the last time: {why}. The replies so far are kept. See that the service "
                        "works, then run the same command again; scorer.http.patience is how long is waited for it"
                    ) from why
                self._repeated.append(str(why)[:80])
                over.wait(pause)
        return None

    def _once(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            reply = post(self._place, body, headers, timeout=self._options.timeout)
        except ssl.SSLCertVerificationError as error:
            raise ServiceError(f"{self._place.url} cannot prove who it is: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unusable(f"{type(error).__name__}: {error}") from error
        if reply.status in PASSING or reply.status >= 500:
            raise Unusable(f"status {reply.status}", seconds_in(reply.retry_after))
        if 300 <= reply.status < 400:
            raise ServiceError(
                f"{self._place.url} answered {reply.status}, a redirect; those are not followed. Give the address it leads to"
            )
        if reply.status >= 400:
            raise ServiceError(
                f"{self._place.url} refuses the request with status {reply.status}: {_beginning(reply.body)}. Asking again would "
                "change nothing; see what the service expects"
            )
        return reply

    def _request(self, batch: Batch) -> tuple[bytes, dict[str, str]]:
        items = [{"id": key, **{name: ONE[name](*item) for name in SENT}} for key, item in batch.items()]
        key = hashlib.sha256("".join(batch).encode()).hexdigest()[:32]
        headers = {"Idempotency-Key": key, "Accept": "application/json", "User-Agent": "steersman"}
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {self._options.token}"
        return json.dumps({"items": items}).encode(), headers

    def _key(self, item: Item) -> str:
        """What stands for an item: its content, and who is asked."""
        prompt, answer = item
        content = [
            self._place.url,
            prompt.text,
            [[m.role, m.content] for m in prompt.messages],
            prompt.metadata,
            answer,
        ]
        try:
            return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the metadata of a prompt cannot be sent as JSON ({error}) for {told(item)}; expected texts, numbers, lists and objects"
            ) from error


def found_in(body: bytes, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a reply says of each item, by its key; `Unusable` if it is not one finite score for each."""
    try:
        scores = json.loads(body)["scores"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Unusable(f"a reply without scores: {_beginning(body)}") from None
    if not isinstance(scores, list) or len(scores) != len(keys):
        seen = len(scores) if isinstance(scores, list) else type(scores).__name__
        raise Unusable(f"a reply with {seen} scores for {len(keys)} answers")
    told_apart = [score["id"] for score in scores if isinstance(score, dict) and "id" in score]
    if told_apart and (len(told_apart) != len(keys) or set(map(str, told_apart)) != set(keys)):
        raise Unusable("a reply whose ids are not those of the request")
    return {str(score["id"]) if told_apart else key: _checked(score) for key, score in zip(keys, scores, strict=True)}


def _checked(score: Any) -> dict[str, Any]:
    said = score if isinstance(score, dict) else {"score": score}
    parts = said.get("parts") or {}
    if not isinstance(parts, dict):
        raise Unusable(f"parts of a score that are no object: {str(parts)[:60]!r}")
    found = {"score": _finite(said.get("score")), "parts": {str(name): _finite(part) for name, part in parts.items()}}
    return {**found, "note": str(said.get("note") or "")}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
        raise Unusable(f"a score that is no finite number: {str(value)[:40]!r}")
    return float(value)


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _score(said: Mapping[str, Any] | None) -> Score:
    assert said is not None, "every batch was answered"
    return Score(float(said["score"]), dict(said["parts"]), said["note"])


def seconds_in(retry_after: str) -> float:
    """The wait that a service asks for: seconds, or a date (RFC 9110, 10.2.3). What cannot be read asks for nothing."""
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
