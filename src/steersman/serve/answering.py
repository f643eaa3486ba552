"""The answers of one request: their rows join the worker's, and leave when the request is over, whatever ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import Request

from steersman.rollout.live_row import LiveRow
from steersman.serve.metrics import ServeMetrics
from steersman.serve.models import ServedLanguage
from steersman.serve.options import ServeOptions
from steersman.serve.problems import ApiError, HungUp, stopping, too_busy
from steersman.serve.text import GrowingText
from steersman.serve.wire import check_row
from steersman.serve.worker import Worker

T = TypeVar("T")
REASONS = {"end": "stop", "stop": "stop", "length": "length", "cancelled": "abort"}
"""OpenAI's names of why an answer ended, and vLLM's for one that was aborted."""


class OpenAnswers:
    """Hands out rows, within the limit of open answers."""

    def __init__(self, worker: Worker, options: ServeOptions, metrics: ServeMetrics) -> None:
        self._worker, self._options, self._metrics = worker, options, metrics
        self.open: dict[LiveRow, str] = {}
        """The rows that are generated or wait, each with its request's id."""

    @asynccontextmanager
    async def joined(
        self, language: ServedLanguage, rows: Sequence[LiveRow], *, each_token: bool, request_id: str
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Context manager in which the rows are generated. Yields a function that waits for the next change."""
        limit = language.live.slots + self._options.waiting
        if len(self.open) + len(rows) > limit:
            self._metrics.refused.inc()
            raise too_busy(len(self.open), limit)
        engine = language.engine
        for row in rows:
            check_row(row, engine.backbone.vocabulary, has_q=engine.guide is not None)
        changed = asyncio.Event()
        self.open.update(dict.fromkeys(rows, request_id))
        self._metrics.begin(language.name, rows)
        deadline = asyncio.get_running_loop().time() + self._options.answer_time

        async def next_change() -> None:
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                late = f"the answer took longer than {self._options.answer_time:g} s; --answer-time sets the limit"
                raise ApiError(504, late, code="timeout") from None
            changed.clear()
            if any(row.ended == "failed" for row in rows):
                raise ApiError(500, "the model failed at this answer; the server's log says why", code="model_error")
            if not self._worker.healthy:
                raise stopping()

        self._worker.add([(language.live, row) for row in rows], changed.set, each_token=each_token)
        try:
            yield next_change
        finally:
            for row in rows:
                row.cancelled = True
                self.open.pop(row, None)
            self._metrics.end(language.name, rows)

    async def whole(self, language: ServedLanguage, rows: Sequence[LiveRow], request_id: str) -> None:
        """Returns when all rows have ended."""
        async with self.joined(language, rows, each_token=False, request_id=request_id) as next_change:
            while any(row.ended is None for row in rows):
                await next_change()


async def unless_hung_up(request: Request, work: Awaitable[T]) -> T:
    """The result of this work, which is cancelled when the client goes."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp
        return task.result()
    finally:
        for one in (task, gone):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class RowText:
    """What a client has been told of a row: its text, and how many of its tokens."""

    def __init__(self, tokeniser: Any, row: LiveRow) -> None:
        self.row = row
        self._text = GrowingText(tokeniser, row.sampling.stop)
        self._decoded = 0
        self.told = 0
        self.over = False

    def news(self) -> str:
        """The text that became certain since the last call; `over` is set with the last of it."""
        ended = self.row.ended
        ids = self.row.ids[self._decoded :]
        self._decoded += len(ids)
        found = self._text.add(ids) if ids else ""
        if ended is not None:
            found += self._text.finish(stopped=ended == "stop")
            self.over = True
        return found

    @property
    def text(self) -> str:
        return self._text.sent

    def take_tokens(self) -> slice:
        """The tokens that were decoded and not yet told of."""
        new = slice(self.told, self._decoded)
        self.told = self._decoded
        return new


def reason_of(row: LiveRow) -> str:
    return REASONS[row.ended or "cancelled"]
