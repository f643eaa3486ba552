"""Limits of what an endpoint may cost: calls and tokens a minute, and calls and tokens altogether."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from steersman.errors import ServiceError

MINUTE = 60.0


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: one for four bytes. An endpoint counts exactly, by its own tokeniser."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


class Pace:
    """Lets a call begin when it and those of the last minute are within the limits."""

    def __init__(self, calls: int | None, tokens: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls, self._tokens, self._clock = calls, tokens, clock
        self._recent: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def wait(self, tokens: int, cancelled: threading.Event) -> None:
        """Wait until a call with about so many tokens may begin."""
        while not cancelled.is_set():
            pause = self._take(tokens)
            if pause <= 0:
                return
            cancelled.wait(pause)

    def _take(self, tokens: int) -> float:
        """0 if the call is counted in now, else the seconds until it might be."""
        with self._lock:
            now = self._clock()
            while self._recent and self._recent[0][0] <= now - MINUTE:
                self._recent.popleft()
            used = sum(one for _, one in self._recent)
            full = self._calls is not None and len(self._recent) >= self._calls
            # A call that is larger than the limit by itself goes alone.
            full = full or (self._tokens is not None and bool(self._recent) and used + tokens > self._tokens)
            if not full:
                self._recent.append((now, tokens))
                return 0.0
            return max(0.001, self._recent[0][0] + MINUTE - now)


@dataclass
class Spent:
    """What was used so far, earlier starts of the run included."""

    calls: int = 0
    tokens: int = 0


class Budget:
    """Refuses a call beyond the limits. `setting` is the group of settings that the message names."""

    def __init__(self, calls: int | None, tokens: int | None, spent: Spent, *, setting: str) -> None:
        self._calls, self._tokens, self._setting = calls, tokens, setting
        self.spent = spent
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Count one call, or raise."""
        with self._lock:
            for name, limit, used in (
                ("calls", self._calls, self.spent.calls),
                ("tokens", self._tokens, self.spent.tokens),
            ):
                if limit is not None and used >= limit:
                    raise ServiceError(
                        f"the budget of {self._setting}.max_{name}={limit:,} is used up ({used:,} {name}). The replies "
                        f"so far are kept; to go on, raise it and run the same command again"
                    )
            self.spent.calls += 1

    def used(self, tokens: int) -> None:
        with self._lock:
            self.spent.tokens += tokens
