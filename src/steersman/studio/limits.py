"""Limits of how often somebody may ask: so many requests at once, then so many each second. Kept in this process."""

import threading
import time
from collections import OrderedDict

from steersman.studio.problems import Problem

_KEPT = 10_000
"""Of so many people or addresses the state is kept; the longest unseen one is forgotten first."""


class RateLimit:
    """A bucket for each key, of `burst` requests, refilled by `rate` a second."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst, self._rate = float(burst), rate
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, cost: float = 1.0) -> float:
        """Take from a key's bucket. Returns 0, or after how many seconds there is enough again."""
        moment = time.monotonic()
        with self._lock:
            left, before = self._buckets.pop(key, (self._burst, moment))
            left = min(self._burst, left + (moment - before) * self._rate)
            enough = left >= cost
            self._buckets[key] = (left - cost if enough else left, moment)
            if len(self._buckets) > _KEPT:
                self._buckets.popitem(last=False)
        return 0.0 if enough else (cost - left) / self._rate

    def require(self, key: str, cost: float = 1.0) -> None:
        """Take, or refuse the request with status 429."""
        if wait := self.take(key, cost):
            seconds = int(wait) + 1
            raise Problem(
                429,
                "too_many",
                f"too many requests; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
