"""What all requests of one server share."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastapi import Request

from steersman.serve.answering import OpenAnswers
from steersman.serve.metrics import ServeMetrics
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions
from steersman.serve.problems import too_busy
from steersman.serve.weights import WeightUpdates
from steersman.serve.worker import Worker

T = TypeVar("T")
MOST_WAITING_SCORES = 4096


@dataclass(slots=True)
class ServerState:
    models: ServedModels
    options: ServeOptions
    worker: Worker
    answers: OpenAnswers
    metrics: ServeMetrics
    updates: WeightUpdates | None
    weights_folder: Path | None
    scored: int = 0
    _encoding: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "steersman-encoding"))

    async def encode(self, work: Callable[[], T]) -> T:
        """Do what may take long with a tokeniser, away from the loop that answers everybody. One at a time: fast
        tokenisers keep settings between calls."""
        return await asyncio.get_running_loop().run_in_executor(self._encoding, work)

    @contextmanager
    def scoring(self, answers: int) -> Iterator[None]:
        """Context manager in which so many answers wait to be scored; ApiError if too many do already."""
        most = max(MOST_WAITING_SCORES, self.options.waiting)
        if self.scored and self.scored + answers > most:
            self.metrics.refused.inc()
            raise too_busy(self.scored, most)
        self.scored += answers
        try:
            yield
        finally:
            self.scored -= answers

    def close(self) -> None:
        self._encoding.shutdown(wait=False, cancel_futures=True)


def state_of(request: Request) -> ServerState:
    return request.app.state.server
