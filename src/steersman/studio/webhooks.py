"""Tells addresses of a project's new events: off by default, and with the checks that rewards behind HTTP have.

A message names events and holds no text of anybody. It is signed: `X-Steersman-Signature` is `sha256=` and the HMAC of
the body. An event is sent once more where a reply got lost; `number` tells it apart. A failing address is tried again
after a longer and longer time.
"""

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
from typing import Any

from steersman.errors import SteersmanError, UsageError
from steersman.reward.exchange import Endpoint, checked_addresses, parse_url, post
from steersman.store.database import Database
from steersman.store.listing import list_events
from steersman.store.webhooks import Webhook, list_webhooks, note_failure, note_sent
from steersman.studio.settings import StudioSettings

log = logging.getLogger("steersman.studio")

EVERY, TIMEOUT, AT_ONCE = 2.0, 10.0, 200
LONGEST_WAIT = 3600.0


def checked_endpoint(url: str, settings: StudioSettings) -> Endpoint:
    """The address of a webhook. One that is not public, or not encrypted, must be allowed by who runs the studio."""
    if "$" in url:
        # An address of a reward may name a variable of the environment; this one was given by somebody far away.
        raise UsageError("the address of a webhook holds no '$'")
    endpoint = parse_url(url, settings.allowed, setting="webhooks")
    try:
        checked_addresses(endpoint, secret=True)
    except OSError as error:
        raise UsageError(f"the address {endpoint.shown} has no host that is known ({error})") from error
    return endpoint


def message_for(hook: Webhook, events: list[dict[str, Any]]) -> bytes:
    told = [{name: one[name] for name in ("number", "kind", "task", "annotator", "time")} for one in events]
    return json.dumps({"project": hook.project.name, "events": told}).encode()


def signature_of(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def send_new(database: Database, hook: Webhook, settings: StudioSettings) -> int:
    """Tell an address of the next events. Returns how many; what goes wrong is an error."""
    events = list_events(hook.project, after=hook.sent, limit=AT_ONCE)
    if not events:
        return 0
    body = message_for(hook, events)
    endpoint = checked_endpoint(hook.url, settings)
    headers = {"X-Steersman-Signature": signature_of(hook.secret, body), "User-Agent": "steersman"}
    reply = post(endpoint, body, headers, timeout=TIMEOUT)
    if not 200 <= reply.status < 300:
        raise OSError(f"status {reply.status}")
    note_sent(database, hook.id, events[-1]["number"])
    return len(events)


class WebhookSender:
    """The thread that tells addresses of new events, while the studio runs."""

    def __init__(self, database: Database, settings: StudioSettings) -> None:
        self._database, self._settings = database, settings
        self._stop = threading.Event()
        self._not_before: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                for hook in list_webhooks(self._database):
                    self._tell(hook)
            except SteersmanError as error:
                log.warning("webhooks: %s", error)

    def _tell(self, hook: Webhook) -> None:
        if self._stop.is_set() or time.monotonic() < self._not_before.get(hook.id, 0.0):
            return
        try:
            while send_new(self._database, hook, self._settings) == AT_ONCE:
                hook = next(one for one in list_webhooks(self._database, hook.project) if one.id == hook.id)
        except (OSError, http.client.HTTPException, UsageError) as error:
            note_failure(self._database, hook.id)
            wait = min(LONGEST_WAIT, EVERY * 2 ** min(hook.failures, 20))
            self._not_before[hook.id] = time.monotonic() + wait
            log.warning("webhook %s of %s: %s; the next attempt in %.0f s", hook.id, hook.project.name, error, wait)
