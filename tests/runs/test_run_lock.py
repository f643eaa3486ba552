"""Two processes in one folder, for real."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import RunLocked, SteersmanError
from steersman.runs.lock import PATIENCE_SECONDS, RunLock, holder_of, lock_run, refuse_if_held

HOLD = """
import sys, time
from pathlib import Path
from steersman.runs.lock import lock_run
lock = lock_run(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_while_the_first_goes_on_and_told_who(tmp_path: Path, start_program: Any):
    first = start_program(HOLD, tmp_path)
    assert first.stdout.readline() == "held\n"
    began = time.monotonic()
    with pytest.raises(RunLocked) as refused:
        lock_run(tmp_path)
    assert time.monotonic() - began < 30, "the first holds it for a minute"
    message = str(refused.value)
    assert str(first.pid) in message
    assert socket.gethostname() in message
    assert f"kill {first.pid}" in message
    holder = holder_of(tmp_path)
    assert holder is not None
    assert (holder.pid, holder.host) == (first.pid, socket.gethostname())


def test_a_killed_process_frees_its_lock(tmp_path: Path, start_program: Any):
    first = start_program(HOLD, tmp_path)
    first.stdout.readline()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert holder_of(tmp_path) is None
    with lock_run(tmp_path) as lock:
        assert lock.held


def test_a_forked_worker_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path, start_program: Any):
    parent = start_program(
        """
        import os, sys, time
        from pathlib import Path
        from steersman.runs.lock import lock_run
        lock = lock_run(Path(sys.argv[1]))
        child = os.fork()
        if child == 0:
            os.close(1); os.close(2)
            time.sleep(60)
        print(child, flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    worker = int(parent.stdout.readline())
    try:
        assert holder_of(tmp_path) is not None
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        with lock_run(tmp_path) as lock:
            os.kill(worker, 0)  # still alive
            assert lock.held
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_worker_that_ends_leaves_the_lock_with_its_parent(tmp_path: Path):
    # subprocess would exec; a plain fork in a process without torch's threads is what a worker does.
    text = (
        "import os,sys\nfrom pathlib import Path\nfrom steersman.runs.lock import lock_run, holder_of\n"
        "p=Path(sys.argv[1])\nlock=lock_run(p)\nchild=os.fork()\n"
        "if child==0:\n lock.release(); os._exit(0 if not lock.held else 1)\n"
        "code=os.waitpid(child,0)[1]\nprint(code, holder_of(p).pid==os.getpid())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", text, str(tmp_path)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "0 True\n"


def test_releasing_lets_the_next_one_in(tmp_path: Path):
    with lock_run(tmp_path) as first:
        assert first.acquire() is first
        with pytest.raises(RunLocked):
            RunLock(tmp_path).acquire()
    assert not first.held
    assert holder_of(tmp_path) is None
    with RunLock(tmp_path) as second:
        assert second.held
    second.release()


def test_a_readers_glance_does_not_refuse_a_starting_run(tmp_path: Path):
    lock_run(tmp_path).release()
    glance = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(glance, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [glance]).start()
    with lock_run(tmp_path) as lock:
        assert lock.held


def test_a_lock_file_that_says_nothing_still_refuses(tmp_path: Path):
    with lock_run(tmp_path):
        (tmp_path / ".lock").write_text("?")
        with pytest.raises(RunLocked, match="does not name it"):
            lock_run(tmp_path)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SteersmanError, match=r"No locks available.*flock"):
        lock_run(tmp_path)


def test_nobody_works_in_a_folder_that_is_not_there(tmp_path: Path):
    assert holder_of(tmp_path / "none") is None


def test_a_shorter_holder_leaves_nothing_of_a_longer_one_before(tmp_path: Path):
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "' + "h" * 500 + '", "since": ""}')
    with lock_run(tmp_path):
        said = json.loads((tmp_path / ".lock").read_text())
        assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(RunLocked, match=f"process {os.getpid()} on"):
            lock_run(tmp_path)
    assert (tmp_path / ".lock").read_bytes() == b""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_refusal_waits_a_moment_and_leaves_no_open_file(tmp_path: Path):
    with lock_run(tmp_path):
        before = open_files()
        began = time.monotonic()
        with pytest.raises(RunLocked):
            lock_run(tmp_path)
        assert time.monotonic() - began >= PATIENCE_SECONDS
        assert open_files() == before
        with pytest.raises(RunLocked):
            refuse_if_held(tmp_path)
        assert open_files() == before
    refuse_if_held(tmp_path)


class Clock:
    """Time in which only sleeping takes any."""

    def __init__(self) -> None:
        self.now, self.pauses = 100.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.pauses += 1


def test_a_refusal_comes_within_a_second_and_after_several_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    with lock_run(tmp_path):
        monkeypatch.setattr("steersman.runs.lock.time", clock)
        with pytest.raises(RunLocked):
            lock_run(tmp_path)
    assert 100.1 < clock.now < 101
    assert clock.pauses > 5


def test_a_run_that_starts_while_another_process_looks_does_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    monkeypatch.setattr("steersman.runs.lock.time", clock)
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        sleep = clock.sleep

        def look_no_longer(seconds: float) -> None:
            sleep(seconds)
            fcntl.flock(looking, fcntl.LOCK_UN)

        clock.sleep = look_no_longer
        with lock_run(tmp_path) as lock:
            assert lock.held
    assert clock.pauses == 1


def test_a_lock_left_behind_by_a_killed_process_is_nobodys(tmp_path: Path):
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "elsewhere", "since": "long ago"}')
    assert holder_of(tmp_path) is None
    refuse_if_held(tmp_path)
