"""When a checkpoint is due by time, so that a killed run repeats minutes and not hours."""

import time
from collections.abc import Callable

COST_SHARE = 0.05
"""Checkpoints that take long to write are written less often: at most this share of the time goes into them."""


class SaveClock:
    """Says after each step whether a checkpoint is due.

    It is due where the next step would end later than `seconds` after the last checkpoint. So steps of four minutes are
    each saved at an interval of five. None switches it off.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._saved = self._looked = clock()
        self._cost = 0.0

    def begin(self) -> None:
        """The first step begins."""
        self._saved = self._looked = self._clock()

    def saved(self, cost: float) -> None:
        """A checkpoint has been written, which took so many seconds."""
        self._saved = self._looked = self._clock()
        self._cost = cost

    def due(self) -> bool:
        """Whether to save after this step. Call it once after each."""
        now = self._clock()
        step, self._looked = now - self._looked, now
        if self._seconds is None:
            return False
        return now - self._saved + step > max(self._seconds, self._cost / COST_SHARE)
