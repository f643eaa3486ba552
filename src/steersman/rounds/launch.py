"""Where a stage runs: in this process, in another one, in several under torchrun, or on a Slurm cluster."""

import contextlib
import importlib.util
import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from steersman.errors import MissingLibrary, Preempted, SteersmanError, UsageError
from steersman.rounds.graph import Graph, StageNode
from steersman.settings.base import Settings

HERE, SUBPROCESS, SLURM = "here", "subprocess", "slurm"
_TORCHRUN = re.compile(r"torchrun:([1-9][0-9]{0,3})")
LAST_LINES = 15


class StageFailed(SteersmanError):  # noqa: N818
    """A stage in another process ended with an error; the exit code is that of the process."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def check_launch(launch: str, where: str) -> None:
    if launch not in (HERE, SUBPROCESS, SLURM) and not _TORCHRUN.fullmatch(launch):
        raise UsageError(
            f"{where}: launch is {launch!r}; expected here, subprocess, torchrun:N (N processes on this machine) or "
            "slurm"
        )


@dataclass
class Launcher:
    """Runs stages. `quiet` keeps their progress from the terminal; processes write it to a log beside the record."""

    graph: Graph
    quiet: bool = False
    once: bool = False
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list[Any])
    _lock: Lock = field(default_factory=Lock)

    def run(self, stage: StageNode, settings: Settings, log: Path) -> None:
        """Run a stage to its end. Raises `Preempted` if it was asked to stop before."""
        if stage.launch == HERE:
            # What a command prints as its result stands in its output too.
            with contextlib.redirect_stdout(io.StringIO()):
                run_here(stage, settings, quiet=self.quiet)
        elif stage.launch == SLURM:
            self._submit(stage, log)
        else:
            self._process(stage, self._command(stage), log)

    def stop(self) -> None:
        """Ask the processes that run now to save and stop."""
        with self._lock:
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def _command(self, stage: StageNode) -> list[str]:
        found = _TORCHRUN.fullmatch(stage.launch)
        start, once = ["-m", "steersman"], ["--once"] if self.once else []
        if found:
            start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={found[1]}", *start]
        return [sys.executable, *start, "rounds", "stage", *once, self.graph.recipe, stage.name, *self.graph.overrides]

    def _process(self, stage: StageNode, command: Sequence[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as written:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT)
            with self._lock:
                self._running.append(process)
            try:
                code = process.wait()
            except BaseException:
                process.send_signal(signal.SIGTERM)
                process.wait()
                raise
            finally:
                with self._lock:
                    self._running.remove(process)
        if code in (Preempted.exit_code, -signal.SIGTERM):
            raise Preempted(f"the stage {stage.name!r} was stopped and saved its state")
        if code:
            ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise StageFailed(
                f"the stage {stage.name!r} ended {ended}. The end of {log}:\n{_end_of(log)}", code if code > 0 else 1
            )

    def _submit(self, stage: StageNode, log: Path) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise MissingLibrary('launch = "slurm" needs submitit, which is not installed: pip install submitit')
        import submitit  # pyright: ignore[reportMissingImports]

        log.parent.mkdir(parents=True, exist_ok=True)
        executor: Any = submitit.AutoExecutor(folder=log.parent / "slurm")
        executor.update_parameters(name=f"{self.graph.name}-{stage.name}")
        job = executor.submit(subprocess.run, self._command(stage), check=True)
        try:
            job.result()
        except Exception as error:
            raise StageFailed(f"the stage {stage.name!r} failed on Slurm (job {job.job_id}): {error}", 1) from error


def run_here(stage: StageNode, settings: Settings, *, quiet: bool) -> None:
    """Run a stage in this process."""
    result = stage.command.run(settings, quiet=quiet)
    if getattr(result, "ending", "") == "stopped":
        raise Preempted(f"the stage {stage.name!r} was stopped and saved its state")


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])


Run = Callable[[StageNode, Settings, Path], None]
