"""A command killed with SIGKILL again and again, and compared with the same command left alone.

Nothing here knows a method: it needs a command line for a folder, and a run folder with a journal and checkpoints. The
moments are drawn uniformly over the life of the uninterrupted run, from the opening of its folder to its end, and are
kept as "so long after the n-th journal row", so that they come at the same place on a machine that has become slower.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from forked import Child, program
from safetensors import safe_open

Command = Callable[[Path], Sequence[str]]
"""The words of a command line, for a run folder."""

PATIENCE = 300.0
LIVES = 3
"""How often kills are tried again, if they came too late."""


def is_time(name: str) -> bool:
    """What may differ between two runs that are equal, besides the notices (a process's words about itself)."""
    return name == "time" or name.startswith("seconds") or name.endswith("per second")


class Running(Protocol):
    @property
    def pid(self) -> int: ...
    def code(self) -> int | None:
        """The exit code, or minus the signal's number; None while it runs."""
        ...


Launch = Callable[..., Running]


class Fresh:
    """A process as a user starts it; it costs the seconds of importing torch."""

    def __init__(self, words: Sequence[str], log: Path, prelude: str = "") -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen([sys.executable, "-c", program(words, log, prelude)], env=environment)

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        return self._process.poll()


class Forked(Child):
    """The same command in a child of a process that has imported already: as real to kill, and started in no time."""

    def __init__(self, words: Sequence[str], log: Path, prelude: str = "") -> None:
        super().__init__(program(words, log, prelude))


def wait(running: Running, seconds: float = PATIENCE) -> int:
    """Its exit code, once it has ended."""
    deadline = time.monotonic() + seconds
    while (code := running.code()) is None:
        if time.monotonic() > deadline:
            os.kill(running.pid, signal.SIGKILL)
            raise AssertionError(f"process {running.pid} still ran after {seconds} s")
        time.sleep(0.002)
    return code


def wait_until(running: Running, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """True once the condition holds; False if the process ended before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if running.code() is not None:
            return condition()
        if time.monotonic() > deadline:
            os.kill(running.pid, signal.SIGKILL)
            raise AssertionError(f"process {running.pid} did not come so far in {seconds} s")
        time.sleep(0.001)
    return True


def runs_in(folder: Path) -> list[Path]:
    """The run's folder, or those of an ensemble's members, one after another."""
    return sorted(folder.glob("member-*")) or [folder]


def works_in(running: Running, folder: Path) -> bool:
    """Whether this very process has the folder's lock."""
    for run in runs_in(folder):
        try:
            if json.loads((run / ".lock").read_bytes())["pid"] == running.pid:
                return True
        except (OSError, ValueError):
            continue
    return False


def journal_lines(folder: Path) -> list[bytes]:
    """The journal's whole lines but notices; of an ensemble, its members' one after another."""
    found: list[bytes] = []
    for run in runs_in(folder):
        path = run / "journal.jsonl"
        data = path.read_bytes() if path.exists() else b""
        found += [line for line in data[: data.rfind(b"\n") + 1].splitlines() if b'"notice"' not in line]
    return found


def raw_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal_lines(folder)]


def count_rows(folder: Path) -> int:
    return len(journal_lines(folder))


def rows_without_times(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not is_time(name)} for row in raw_rows(folder)]


def content_hash(path: Path) -> str:
    """SHA-256 of a safetensors file's names, types, shapes and bytes, in the order of the names; not of its
    metadata."""
    digest = hashlib.sha256()
    with safe_open(str(path), framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(
                tensor.contiguous().flatten().view(dtype=torch.uint8).numpy().tobytes() if tensor.numel() else b""
            )
    return digest.hexdigest()


def last_checkpoint(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def end_state(folder: Path) -> dict[str, Any]:
    """Everything that must be equal at the end: tensors by content, what the loop remembers, and the model that was
    saved."""
    checkpoint = last_checkpoint(folder)
    found: dict[str, Any] = {
        "checkpoint": checkpoint.name,
        "state": json.loads((checkpoint / "state.json").read_text()),
    }
    for path in sorted([*checkpoint.glob("*.safetensors"), *(folder / "model").glob("*.safetensors")]):
        found[f"{path.parent.name}/{path.name}"] = content_hash(path)
    return found


def assert_same_run(folder: Path, whole: Path) -> None:
    """The interrupted run's end and journal are the uninterrupted one's, to the bit; no row is missing or doubled."""
    assert rows_without_times(folder) == rows_without_times(whole)
    assert [end_state(run) for run in runs_in(folder)] == [end_state(run) for run in runs_in(whole)]


@dataclass(frozen=True)
class Life:
    """When an uninterrupted run opened its folder, wrote each of its rows, and ended."""

    folder: Path
    opened: float
    rows: tuple[float, ...]
    ended: float

    def moment(self, fraction: float) -> "Moment":
        when = self.opened + fraction * (self.ended - self.opened)
        before = [t for t in self.rows if t <= when]
        return Moment(len(before), when - (before[-1] if before else self.opened))


@dataclass(frozen=True)
class Moment:
    """So many seconds after this many rows were written (0: after the folder was opened)."""

    rows: int
    seconds: float


@dataclass(frozen=True)
class Kill:
    moment: Moment
    landed: bool
    """False if the process had ended before."""
    writing: bool
    """Whether it left a half-written checkpoint behind, that is, was killed while it saved."""


def live(launch: Launch, command: Command, folder: Path, log: Path) -> Life:
    """The command left alone, from beginning to end."""
    running = launch(command(folder), log)
    wait_until(running, lambda: works_in(running, folder))
    opened = time.time()
    code = wait(running)
    assert code == 0, f"the uninterrupted command ended with {code}:\n{log.read_text()[-3000:]}"
    # not the process's end: an interpreter with torch in it takes long to go, and there is nothing left to harm
    ended = json.loads((runs_in(folder)[-1] / "ending.json").read_text())["time"]
    return Life(folder, opened, tuple(row["time"] for row in raw_rows(folder)), ended)


def kill_along(
    launch: Launch, command: Command, folder: Path, log: Path, life: Life, *, kills: int, seed: int, least: int = 1
) -> list[Kill]:
    """The command killed `kills` times along one life, started again each time, and at last left to finish.

    Where a machine's pace changed so much that fewer than `least` kills came before the end, another life is tried.
    """
    draw = random.Random(seed)
    done: list[Kill] = []
    for _ in range(LIVES):
        shutil.rmtree(folder, ignore_errors=True)
        moments = [life.moment(fraction) for fraction in sorted(draw.random() for _ in range(kills))]
        done = [_killed(launch(command(folder), log), folder, log, moment) for moment in moments]
        code = wait(launch(command(folder), log))
        assert code == 0, f"the last start ended with {code}:\n{log.read_text()[-3000:]}"
        if sum(kill.landed for kill in done) >= least:
            break
    return done


def _killed(running: Running, folder: Path, log: Path, moment: Moment) -> Kill:
    """Killed at its moment, or as soon as a row shows that the process is past it."""
    wait_until(running, lambda: works_in(running, folder))
    wait_until(running, lambda: count_rows(folder) >= moment.rows)
    until = time.monotonic() + moment.seconds
    wait_until(running, lambda: time.monotonic() >= until or count_rows(folder) > moment.rows)
    if running.code() is None:
        os.kill(running.pid, signal.SIGKILL)
    code = wait(running)
    assert code in (0, -signal.SIGKILL), f"ended with {code}:\n{log.read_text()[-3000:]}"
    return Kill(moment, code != 0, any(any((run / "checkpoints").glob(".tmp-*")) for run in runs_in(folder)))
