"""Two trainers that are measured take turns: each waits at a step's beginning until it is told to go on for so many steps.

So both meet the same machine, minute by minute, and neither runs while the other is timed. This file is shared with the
peers' interpreters and imports nothing but the standard library.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable


class Turns:
    """At each step's beginning call `step_begins`. One JSON line a turn goes to the standard output of the process's start;
    all else that is printed goes to its standard error."""

    def __init__(self, losses: Callable[[], list[float]], tokens: Callable[[], int]) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._losses, self._tokens = losses, tokens
        self._left = 0
        self._since: tuple[float, float, int] | None = None

    def step_begins(self) -> None:
        if self._left == 0:
            if self._since is None:
                self._say({"ready": True})
            else:
                wall, processor, tokens = self._since
                self._say(
                    {
                        "seconds": time.perf_counter() - wall,
                        "processor_seconds": time.process_time() - processor,
                        "tokens": self._tokens() - tokens,
                    }
                )
            word = sys.stdin.readline().strip()
            if word in ("", "end"):
                kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                self._say({"peak_gb": kilobytes * 1024 / 1e9, "losses": self._losses()})
                os._exit(0)
            self._left = int(word)
            self._since = (time.perf_counter(), time.process_time(), self._tokens())
        self._left -= 1

    def _say(self, row: dict[str, object]) -> None:
        self._answers.write(json.dumps(row) + "\n")
        self._answers.flush()
