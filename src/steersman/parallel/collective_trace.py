"""Where each rank is, for those that wait for it: a thread posts it in the store that all ranks share.

A rank that is blocked inside a collective of its model (FSDP's) cannot say so itself.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist

from steersman.errors import SteersmanError

# torch's default is half an hour, during which a hang looks like work.
TIMEOUT = timedelta(seconds=float(os.environ.get("STEERSMAN_COLLECTIVE_TIMEOUT", "300")))
BEAT_SECONDS = 2.0
STUCK_SECONDS = 15.0
"""A rank that has been in one call of a collective for so long, while another waits elsewhere, is stuck there."""

_UNKNOWN = {"beat": 0, "place": "a place that it has not posted yet", "stuck": 0.0}
_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_HERE = str(Path(__file__).parent) + os.sep
_TORCH = f"{os.sep}torch{os.sep}distributed{os.sep}"


def caller() -> str:
    """The function of this package, outside of `parallel`, that is being executed, with its file and line."""
    return _place(sys._getframe()) or "a script"


def _place(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE) and not file.startswith(_HERE):
            return f"{frame.f_code.co_qualname} ({file.removeprefix(_PACKAGE)}:{frame.f_lineno})"
        frame = frame.f_back
    return ""


class CollectiveTrace:
    """A thread that posts where the thread that made it is, and reads where other ranks are."""

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._watched = threading.get_ident()
        self._ended = threading.Event()
        self._waiting_in = ""
        self._call, self._since = 0, time.monotonic()
        self._heard: dict[int, tuple[int, float]] = {}
        # The thread's own connection: one that waits for an answer is locked.
        self._posting = store.clone()  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=self._run, name="collective trace", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=BEAT_SECONDS)

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Inside the block this rank waits in the collective of this name."""
        self._waiting_in = name
        try:
            yield
        finally:
            self._waiting_in = ""

    def _run(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_SECONDS):
            beat += 1
            try:
                self._posting.set(f"position/{self._rank}", json.dumps({"beat": beat, **self._position()}))
            except RuntimeError:
                return  # the store has ended with the run

    def _position(self) -> dict[str, Any]:
        frame = sys._current_frames().get(self._watched)
        place, name = _place(frame), self._waiting_in
        if name:
            return {"place": name, "stuck": 0.0}
        call = 0
        while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            # The outermost of torch's own functions below ours: one call of a collective is one frame.
            call = id(frame) if _TORCH in frame.f_code.co_filename else call
            frame = frame.f_back
        if call == 0 or call != self._call:
            self._call, self._since = call, time.monotonic()
        return {"place": place or "outside of Steersman", "stuck": time.monotonic() - self._since if call else 0.0}

    def _others(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for rank in range(self._size):
            if rank != self._rank:
                known = self._store.check([f"position/{rank}"])
                yield rank, json.loads(self._store.get(f"position/{rank}")) if known else dict(_UNKNOWN)

    def others(self) -> str:
        """Where the other ranks were last seen."""
        return "; ".join(f"rank {rank} is at {position['place']}" for rank, position in self._others())

    def stuck(self, waited: float) -> str:
        """The rank that will never come to where this one has waited so many seconds; empty if none is known.

        Raises if a rank has not posted anything for `TIMEOUT`: its machine or its network is gone.
        """
        now = time.monotonic()
        for rank, position in self._others():
            if waited > STUCK_SECONDS and position["stuck"] > STUCK_SECONDS:
                return f"rank {rank}: a collective of the model, in {position['place']}, for {position['stuck']:.0f} s"
            beat, heard = self._heard.get(rank, (0, now))
            self._heard[rank] = (position["beat"], now if beat != position["beat"] else heard)
            silent = now - self._heard[rank][1]
            if silent > TIMEOUT.total_seconds():
                raise SteersmanError(
                    f"rank {rank} has not been heard of for {silent:.0f} s; it was at {position['place']}. Look "
                    "whether its machine still runs, then run the same command again"
                )
        return ""
