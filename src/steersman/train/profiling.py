"""Where a run's time goes: torch's profiler over a few steps, written as a trace for a browser and as a table by phase.

Phases are named where the work is done (`phase`), which costs next to nothing while nobody looks.
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
    """What happens inside belongs to this phase; phases may lie within one another."""
    return torch.profiler.record_function(_MARK + name)


class Profile:
    """Looks at `steps` steps, of which the first of the run is none if there are others: it warms up. Writes trace.json.gz (to be
    opened in chrome://tracing or ui.perfetto.dev) and phases.txt into the folder."""

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
        """Write what was seen, if anything was."""
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
            lines.append(
                f"{event.key.removeprefix(_MARK):<28}{event.count / steps:>14.1f}{seconds / steps:>16.4f}{seconds / self._seconds:>8.0%}"
            )
        lines += ["", "A phase's time holds that of the phases within it. The dearest operations:", ""]
        return "\n".join(lines) + "\n" + averages.table(sort_by="self_cpu_time_total", row_limit=25) + "\n"
