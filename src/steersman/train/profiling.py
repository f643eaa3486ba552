"""torch.profiler over a few steps of a run, written as a trace for a browser and as a table by phase.

The code marks its phases with `phase`, which costs next to nothing without a profiler.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

_MARK = "phase: "


def phase(name: str) -> AbstractContextManager[Any]:
    """Context manager that marks a phase of a step; phases may be nested."""
    return torch.profiler.record_function(_MARK + name)


class Profile:
    """Profiles `steps` steps, without the run's first step (warm-up) unless it is the only one left.

    Writes trace.json.gz (for chrome://tracing or ui.perfetto.dev) and phases.txt into the folder.
    """

    def __init__(self, folder: Path, steps: int, *, left: int) -> None:
        self.folder, self._steps, self._wait = folder, steps, 1 if left > 1 else 0
        self._profiler: Any = None
        self._seen, self._since, self._seconds = 0, 0.0, 0.0
        self._begin_if_time()

    def step_ended(self) -> None:
        if self._profiler is not None:
            self._seen += 1
            if self._seen == self._steps:
                self.end()
        elif self._seen == 0:
            self._wait -= 1
            self._begin_if_time()

    def end(self) -> None:
        """Stop profiling and write the files, if profiling had started."""
        if self._profiler is None:
            return
        self._seconds = time.perf_counter() - self._since
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json.gz"))
        (self.folder / "phases.txt").write_text(self._table(profiler.key_averages()))

    def _begin_if_time(self) -> None:
        if self._wait > 0:
            return
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=kinds)
        self._profiler.start()
        self._since = time.perf_counter()

    def _table(self, averages: Any) -> str:
        steps = max(1, self._seen)
        lines = [
            f"{self._seen} steps, {self._seconds / steps:.4f} s each while profiled (which itself takes time)",
            "",
            f"{'phase':<28}{'calls a step':>14}{'seconds a step':>16}{'share':>8}",
        ]
        rows = [event for event in averages if event.key.startswith(_MARK)]
        for event in sorted(rows, key=lambda event: -event.cpu_time_total):
            seconds = event.cpu_time_total / 1e6
            name, share = event.key.removeprefix(_MARK), seconds / self._seconds
            lines.append(f"{name:<28}{event.count / steps:>14.1f}{seconds / steps:>16.4f}{share:>8.0%}")
        lines += ["", "A phase's time includes that of the phases within it. The most expensive operations:", ""]
        return "\n".join(lines) + "\n" + averages.table(sort_by="self_cpu_time_total", row_limit=25) + "\n"
