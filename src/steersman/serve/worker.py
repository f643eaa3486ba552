"""The thread that computes: it steps the rows of all models, scores in batches, and does what must happen in between.

Only this thread touches models. Others hand rows, scoring jobs and calls over, and are told of changes through
`deliver`, once a step for all rows that changed.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from steersman.reward.scorer import Item, Score, Scorer
from steersman.rollout.live import LiveRows
from steersman.rollout.live_row import LiveRow

T = TypeVar("T")
Listener = Callable[[], None]
PauseMode = Literal["abort", "wait", "keep"]
log = logging.getLogger("steersman.serve")

SCORED_TOGETHER = 256
"""Answers that are scored between two steps."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    scorer: Scorer
    items: Sequence[Item]
    done: "Future[list[Score]]"


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    work: Callable[[], Any]
    done: "Future[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class _Listening:
    """Who is told of a row, and whether of each token."""

    live: LiveRows
    listener: Listener
    each_token: bool


class Worker:
    """`deliver` is called in this thread with the listeners of all rows that a step changed."""

    def __init__(self, languages: Sequence[LiveRows], deliver: Callable[[list[Listener]], None]) -> None:
        self._languages, self._deliver = languages, deliver
        self._wake = threading.Condition()
        self._inbox: list[tuple[LiveRows, LiveRow]] = []
        self._jobs: list[_Job] = []
        self._calls: list[_Call] = []
        self._listeners: dict[LiveRow, _Listening] = {}
        self._stopping = False
        self._paused = self._draining = False
        self._drained: Future[None] | None = None
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="steersman-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its present step. Rows that are left are cancelled."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def healthy(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    @property
    def paused(self) -> bool:
        return self._paused or self._draining

    def add(self, rows: Sequence[tuple[LiveRows, LiveRow]], listener: Listener, *, each_token: bool) -> None:
        """Let rows join. The listener is told when one of them ends, and with `each_token` of every token."""
        with self._wake:
            for live, row in rows:
                self._listeners[row] = _Listening(live, listener, each_token)
                self._inbox.append((live, row))
            self._wake.notify()

    def score(self, scorer: Scorer, items: Sequence[Item]) -> "Future[list[Score]]":
        job = _Job(scorer, items, Future())
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()
        return job.done

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Do something between two steps."""
        done: Future[T] = Future()
        with self._wake:
            self._calls.append(_Call(work, done))
            self._wake.notify()
        return done

    def pause(self, mode: PauseMode) -> "Future[None]":
        """Generate nothing from now on, until `resume`. Rows are aborted, finished first, or kept as they are."""
        drained: Future[None] = Future()

        def begin() -> None:
            if mode == "abort":
                for row in list(self._listeners):
                    row.cancelled = True
                self._forget_inbox()
                self._step_all()
            if mode == "wait" and self._busy():
                self._draining, self._drained = True, drained
                return
            self._paused = True
            drained.set_result(None)

        self.call(begin)
        return drained

    def resume(self) -> "Future[None]":
        def end() -> None:
            self._paused = self._draining = False
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)

        return self.call(end)

    def abort(self, rows: Sequence[LiveRow]) -> None:
        for row in rows:
            row.cancelled = True

    def _busy(self) -> bool:
        return any(live.waiting or live.running for live in self._languages)

    def _has_work(self) -> bool:
        held = self._paused or self._draining
        return bool(self._calls or self._jobs or (self._inbox and not held) or (self._busy() and not self._paused))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stopping and not self._has_work():
                    self._wake.wait()
                if self._stopping:
                    break
                calls, self._calls = self._calls, []
                jobs, self._jobs = _some(self._jobs)
                inbox: list[tuple[LiveRows, LiveRow]] = []
                if not self.paused:
                    inbox, self._inbox = self._inbox, []
            for call in calls:
                _settle(call.done, call.work)
            _score(jobs)
            for live, row in inbox:
                self._seat(live, row)
            if not self._paused:
                self._step_all()
            if self._draining and not self._busy():
                self._paused, self._draining = True, False
                if self._drained is not None and not self._drained.done():
                    self._drained.set_result(None)
        self._leave()

    def _seat(self, live: LiveRows, row: LiveRow) -> None:
        try:
            live.add(row)
        except Exception:
            log.exception("a row could not be taken up")
            self._fail([row])

    def _step_all(self) -> None:
        told: dict[Listener, None] = {}
        for live in self._languages:
            try:
                changed = live.step()
            except Exception:
                log.exception("a step failed; its rows are given up, and the server goes on")
                live.fail()
                # all that were taken up, also one that the step had in its hands
                waiting = {row for _, row in list(self._inbox)}
                self._fail(
                    [row for row, one in list(self._listeners.items()) if one.live is live and row not in waiting]
                )
                continue
            for row in changed:
                found = self._listeners.get(row)
                if found is not None and (found.each_token or row.ended is not None):
                    told[found.listener] = None
                if row.ended is not None:
                    self._listeners.pop(row, None)
        if told:
            self._deliver(list(told))

    def _fail(self, rows: Sequence[LiveRow]) -> None:
        self.failures += len(rows)
        for row in rows:
            row.ended = "failed"
        self._tell(rows)

    def _forget_inbox(self) -> None:
        with self._wake:
            rows, self._inbox = [row for _, row in self._inbox], []
        for row in rows:
            row.ended = "cancelled"
        self._tell(rows)

    def _tell(self, rows: Sequence[LiveRow]) -> None:
        """Tell whoever listens to these rows that they are over."""
        found = [self._listeners.pop(row, None) for row in rows]
        self._deliver([one.listener for one in found if one is not None])

    def _leave(self) -> None:
        """Let everybody go who still waits."""
        for row in list(self._listeners):
            row.ended = row.ended or "cancelled"
        listeners = [one.listener for one in self._listeners.values()]
        self._listeners.clear()
        self._deliver(listeners)
        for job in self._jobs:
            job.done.cancel()
        for call in self._calls:
            call.done.cancel()


def _some(jobs: list[_Job]) -> tuple[list[_Job], list[_Job]]:
    """The first jobs of the first one's scorer, up to a number of answers, and the others."""
    chosen: list[_Job] = []
    others: list[_Job] = []
    count = 0
    for job in jobs:
        if job.scorer is jobs[0].scorer and (not chosen or count + len(job.items) <= SCORED_TOGETHER):
            chosen.append(job)
            count += len(job.items)
        else:
            others.append(job)
    return chosen, others


def _score(jobs: Sequence[_Job]) -> None:
    """Score the answers of several requests in one pass. If it fails, each request's by itself: one must not spoil the
    others."""
    if not jobs:
        return
    items = [item for job in jobs for item in job.items]
    try:
        scores = jobs[0].scorer.score(items)
    except Exception:
        for job in jobs:
            _settle(job.done, lambda job=job: job.scorer.score(job.items))
        return
    start = 0
    for job in jobs:
        part = scores[start : start + len(job.items)]
        start += len(job.items)
        _settle(job.done, lambda part=part: part)


def _settle(done: "Future[Any]", work: Callable[[], Any]) -> None:
    """Do the work, and keep its result or its error. Whoever waited may have gone."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(work())
    except Exception as error:
        done.set_exception(error)
