"""Alternates two measured trainers: each waits at the beginning of a step for the command to run a number of steps.

So both meet the same machine, minute by minute, and neither runs while the other is timed. This file is shared with the
peers' interpreters and imports nothing but the standard library.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def resident_gb() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9


def peak_gb() -> float:
    """The most memory that this process has held: of the GPU's, where it uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def held_gb() -> float:
    """What it holds now."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 1e9
    return resident_gb()


class Turns:
    """The trainer's side: it calls `step_begins` at the beginning of each step.

    One JSON line per turn goes to the original standard output; all other output goes to standard error.
    """

    def __init__(
        self,
        losses: Callable[[], list[float]],
        tokens: Callable[[], int],
        phases: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`phases` returns seconds so far by phase; a turn's answer has the increase of each, the memory held now (by
        imports), and the peak."""
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._losses, self._tokens, self._phases = losses, tokens, phases
        self._imported_gb = held_gb()
        self._left = 0
        self._since: tuple[float, float, int, dict[str, float]] | None = None

    def step_begins(self) -> None:
        if self._left == 0:
            if self._since is None:
                self._say({"ready": True})
            else:
                wall, processor, tokens, phases = self._since
                self._say(
                    {
                        "seconds": time.perf_counter() - wall,
                        "processor_seconds": time.process_time() - processor,
                        "tokens": self._tokens() - tokens,
                        "phases": {name: value - phases.get(name, 0.0) for name, value in self._phases().items()},
                    }
                )
            word = sys.stdin.readline().strip()
            if word in ("", "end"):
                self._say(
                    {
                        "peak_gb": peak_gb(),
                        "imported_gb": self._imported_gb,
                        "losses": self._losses(),
                    }
                )
                os._exit(0)
            self._left = int(word)
            self._since = (time.perf_counter(), time.process_time(), self._tokens(), dict(self._phases()))
        self._left -= 1

    def _say(self, row: dict[str, object]) -> None:
        self._answers.write(json.dumps(row) + "\n")
        self._answers.flush()
