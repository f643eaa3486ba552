"""Requests to an external service that are repeated until there is a usable reply, a refusal, or no patience left.

A failed request is repeated with exponential backoff and jitter, or after the time that the service asks for.
"""

import email.utils
import http.client
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from steersman.errors import ServiceError
from steersman.reward.exchange import Endpoint, Reply, checked_addresses, parse_url, post
from steersman.secrets import HIDDEN

T = TypeVar("T")

# Request Timeout, Too Early, Too Many Requests; besides all of 5xx
RETRYABLE = (408, 425, 429)
MAX_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How a service is asked.

    `timeout` is for one request, `patience` for a request with all its retries, in seconds. `at_once` is the number of
    concurrent requests. `allowed` are private addresses that may be reached; `token` is sent in the Authorization
    header. `setting` is the group of settings that messages name.
    """

    at_once: int
    timeout: float
    patience: float
    allowed: tuple[str, ...]
    token: str | None
    setting: str


class RetryableError(Exception):
    """A missing or unusable reply that a retry may fix; `wait` is the service's Retry-After, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Refused(ServiceError):  # noqa: N818
    """A request that the service refuses for what it holds: a repetition would not help. `body` is its beginning."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


class Service:
    """One service. `first_wait`: mean wait before the first retry, in seconds; it doubles each time."""

    def __init__(
        self, url: str, options: ServiceOptions, *, notice: Callable[[str], None], first_wait: float = 0.5
    ) -> None:
        self.endpoint: Endpoint = parse_url(url, options.allowed, setting=options.setting)
        self.options = options
        self._notice, self._first_wait = notice, first_wait
        self._retries: list[str] = []
        self._not_before = 0.0
        self._random = random.Random()
        # A forbidden address is an error before the run starts; a name that does not resolve now may do so later.
        with suppress(OSError):
            checked_addresses(self.endpoint, secret=options.token is not None)

    def all(self, jobs: Sequence[Callable[[threading.Event], object]]) -> None:
        """Do all jobs, several at once; the first one that finally fails cancels the others."""
        cancelled = threading.Event()
        with ThreadPoolExecutor(self.options.at_once) as pool:
            futures = [pool.submit(job, cancelled) for job in jobs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                cancelled.set()
                for future in futures:
                    future.cancel()
        self.report_retries()
        failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
        if failures:
            raise failures[0]

    def report_retries(self) -> None:
        retries, self._retries = self._retries, []
        if retries:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in Counter(retries).most_common(3))
            self._notice(f"{self.endpoint.shown}: {len(retries)} requests had to be repeated ({reasons})")

    def note_failure(self, error: RetryableError) -> None:
        """Count a failed request that is not repeated here; its Retry-After holds for the next ones."""
        self._retries.append(self.said(error)[:80])
        self._not_before = max(self._not_before, time.monotonic() + error.wait)

    def until_usable(self, attempt: Callable[[], T], what: str, cancelled: threading.Event) -> T | None:
        """What `attempt` returns once it raises no RetryableError; None if `cancelled` comes first."""
        began, attempts, options = time.monotonic(), 0, self.options
        # a Retry-After of earlier requests, within the patience
        cancelled.wait(min(self._not_before - began, options.patience))
        while not cancelled.is_set():
            attempts += 1
            try:
                return attempt()
            except RetryableError as error:
                # Jitter of a factor 0.5 to 1.5, so that requests that failed together are not retried together.
                pause = min(MAX_WAIT, self._first_wait * 2 ** min(attempts - 1, 30)) * (0.5 + self._random.random())
                pause = max(pause, error.wait)
                if time.monotonic() - began + pause > options.patience:
                    raise ServiceError(
                        f"{self.endpoint.shown} gave no usable reply for {what} in {attempts} attempts "
                        f"over {time.monotonic() - began:.0f} s; the last error: {self.said(error)}. The replies "
                        f"so far are kept. Check the service, then run the same command again; "
                        f"{options.setting}.patience sets how long to retry"
                    ) from error
                self._retries.append(self.said(error)[:80])
                cancelled.wait(pause)
        return None

    def once(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The complete reply to one request with a good status."""
        try:
            reply = post(self.endpoint, body, headers, timeout=self.options.timeout)
        except ssl.SSLCertVerificationError as error:
            raise ServiceError(
                f"the certificate of {self.endpoint.shown} could not be verified: {error.verify_message}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"{type(error).__name__}: {error}") from error
        if reply.status in RETRYABLE or reply.status >= 500:
            raise RetryableError(f"status {reply.status}", parse_retry_after(reply.retry_after))
        if 300 <= reply.status < 400:
            raise ServiceError(
                f"{self.endpoint.shown} answered {reply.status}, a redirect, which is not followed. Give the target's "
                "URL"
            )
        if reply.status >= 400:
            raise Refused(
                f"{self.endpoint.shown} refuses the request with status {reply.status}: "
                f"{self.said(beginning(reply.body))}. A retry would not help; check what the service expects",
                reply.status,
                reply.body[:4000].decode("utf-8", "replace"),
            )
        return reply

    def headers(self, idempotency: str) -> dict[str, str]:
        found = {"Idempotency-Key": idempotency, "Accept": "application/json", "User-Agent": "steersman"}
        if self.options.token is not None:
            found["Authorization"] = f"Bearer {self.options.token}"
        return found

    def said(self, text: object) -> str:
        """What a service said, for a message. A service may repeat the secret that it refuses."""
        said = self.endpoint.without_secrets(str(text))
        return said.replace(self.options.token, HIDDEN) if self.options.token else said


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


def beginning(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
