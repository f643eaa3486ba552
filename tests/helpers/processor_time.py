"""What the tests cost: processor time (user and system, child processes included), for each test and for the whole run.

Wall time depends on what else the machine does; processor time far less. `docs/tests.md` keeps the measured totals.
"""

import json
import os
import resource
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "STEERSMAN_PROCESSOR_TIME"
"""Names the file that each test's seconds are written to, one JSON line a test; unset, nothing is measured."""


def asked_for() -> bool:
    return bool(os.environ.get(VARIABLE))


def spent(process: str = "self") -> float:
    """Seconds so far of this process, its ended children and its living descendants (a fork server is never waited
    for)."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + sum(map(_living, _children(process)))


def _children(process: str) -> list[str]:
    try:
        return [
            child
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended, or this is no Linux
        return []


def _living(process: str) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), counted from 1
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_living, _children(process)))


class ProcessorTime:
    """Adds each phase's seconds to its report, and sums them up where the reports arrive."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._last = 0.0
        self._started = time.monotonic()
        self._tests: dict[str, float] = defaultdict(float)
        self._workers: list[dict[str, float]] = []
        self._collection = 0.0

    def pytest_collection_finish(self) -> None:
        self._collection = self._last = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Any:
        report = yield
        now = spent()
        report.processor_seconds, self._last = now - self._last, now
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._tests[report.nodeid] += getattr(report, "processor_seconds", 0.0)

    def pytest_sessionfinish(self) -> None:
        if (output := getattr(self._config, "workeroutput", None)) is not None:
            output["processor_time"] = {"total": spent(), "collection": self._collection}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        self._workers.append(getattr(node, "workeroutput", {}).get("processor_time", {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The line for the table of `docs/tests.md`."""
        if hasattr(self._config, "workerinput"):
            return
        lines = [json.dumps({"test": test, "seconds": round(taken, 3)}) for test, taken in self._tests.items()]
        Path(os.environ[VARIABLE]).write_text("\n".join(lines) + "\n")
        processes = self._workers or [{"total": spent(), "collection": self._collection}]
        total, collection = (sum(one.get(name, 0.0) for one in processes) for name in ("total", "collection"))
        if self._workers:
            own = resource.getrusage(resource.RUSAGE_SELF)
            total += own.ru_utime + own.ru_stime
        counts = ", ".join(
            f"{len(found)} {name}"
            for name in ("passed", "failed", "error", "skipped")
            if (found := terminalreporter.stats.get(name))
        )
        terminalreporter.section("processor time: date, commit, tests, in all, of that collection, wall, cores")
        terminalreporter.write_line(
            f"| {time.strftime('%Y-%m-%d')} | {_commit()} | {counts} | {total:.0f} s | {collection:.0f} s "
            f"| {time.monotonic() - self._started:.0f} s | {os.cpu_count()} |"
        )


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "no commit"
