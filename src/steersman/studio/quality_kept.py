"""A project's figures of quality, kept until its labels change, so that a page of a large project does not wait.

Figures that took long are computed anew beside the requests, at most one time at once; until then a page shows the last
ones and says how many events came since.
"""

import threading
import time
from dataclasses import dataclass, field

from steersman.quality.features import PairForms
from steersman.quality.figures import Quality, measure_quality
from steersman.store.projects import Project, head_of

QUICK = 0.25
"""Seconds; figures that took less are computed while the page waits."""


@dataclass
class _Kept:
    turn: threading.Lock = field(default_factory=threading.Lock)
    forms: PairForms = field(default_factory=PairForms)
    quality: Quality | None = None
    took: float = 0.0


@dataclass
class QualityKept:
    """The newest figures of each project that was asked about."""

    _known: dict[int, _Kept] = field(default_factory=dict[int, _Kept])
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def of(self, found: Project) -> tuple[Quality, int]:
        """A project's figures, and how many events have come since."""
        with self._turn:
            kept = self._known.setdefault(found.id, _Kept())
        last = kept.quality
        behind = 0 if last is None else head_of(found) - last.event
        if last is None or (behind and kept.took < QUICK):
            with kept.turn:
                if kept.quality is None or head_of(found) > kept.quality.event:
                    self._measure(found, kept)
            assert kept.quality is not None
            return kept.quality, 0
        if behind and kept.turn.acquire(blocking=False):
            threading.Thread(target=self._later, args=(found, kept), daemon=True).start()
        return last, behind

    def _later(self, found: Project, kept: _Kept) -> None:
        try:
            self._measure(found, kept)
        finally:
            kept.turn.release()

    def _measure(self, found: Project, kept: _Kept) -> None:
        began = time.monotonic()
        kept.quality = measure_quality(found, kept.forms)
        kept.took = time.monotonic() - began
