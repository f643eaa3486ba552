"""Processes that are forked from one that has imported torch and the package: as real as any, without the seconds that
imports cost.

What tests the start itself (torchrun, a fresh interpreter) starts it as a user does.
"""

import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "steersman.cli.main",
        "steersman.assemble.sft",
        "steersman.assemble.reward.run",
        "steersman.assemble.classifier",
        "steersman.assemble.ppo.run",
        "steersman.assemble.online_dpo",
        "steersman.assemble.ilql",
        "transformers.models.llama.modeling_llama",
        "peft",
    ]
)


def program(words: Sequence[str], log: Path, prelude: str = "") -> str:
    """Python that is the command: `prelude` comes first (limits, say), what it prints goes to `log`."""
    return "\n".join((_printing_to(log, log), prelude, _command(words)))


def _printing_to(out: Path, errors: Path) -> str:
    return "\n".join(
        (
            "import os, sys",
            *(
                f"os.dup2(os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), {descriptor})"
                for descriptor, path in ((1, out), (2, errors))
            ),
        )
    )


def _command(words: Sequence[str]) -> str:
    return f"sys.argv = {list(words)!r}\nfrom steersman.cli.main import main\nmain()"


class Child:
    """Python text that runs in a forked process."""

    def __init__(self, text: str) -> None:
        self._process = _context.Process(target=exec, args=(text, {"__name__": "__main__"}))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def code(self) -> int | None:
        """The exit code, or minus the signal's number; None while it runs."""
        return self._process.exitcode


@dataclass(frozen=True)
class Ended:
    returncode: int
    """Of the first process that failed, or 0."""
    stdout: str
    stderr: str


def run_text(
    text: str,
    *,
    processes: int = 1,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 400,
) -> Ended:
    """Python text in so many processes; more than one find each other as under torchrun, by the variables it sets."""
    with tempfile.TemporaryDirectory() as scratch:
        logs = [(Path(scratch) / f"{rank}.out", Path(scratch) / f"{rank}.err") for rank in range(processes)]
        port = _free_port()
        children: list[Child] = []
        for rank, log in enumerate(logs):
            variables = {"OMP_NUM_THREADS": "1", **(environment or {})}
            if processes > 1:
                variables |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
                variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            where = f"os.chdir({str(cwd or scratch)!r})"
            children.append(Child("\n".join((_printing_to(*log), f"os.environ.update({variables!r})", where, text))))
        codes = [_wait(child, timeout) for child in children]
        said = ["".join(log[i].read_text() for log in logs) for i in range(2)]
    return Ended(next((code for code in codes if code), 0), *said)


def run_command(words: Sequence[str], **how: object) -> Ended:
    """The command `steersman` with these words."""
    return run_text(_command(["steersman", *words]), **how)  # type: ignore[arg-type]


def run_script(script: Path, *arguments: str, **how: object) -> Ended:
    """A Python file as a program."""
    text = f"sys.argv = {[str(script), *arguments]!r}\nsys.path.insert(0, {str(script.parent)!r})\n"
    text += (
        f"exec(compile(open({str(script)!r}).read(), {str(script)!r}, 'exec'), globals() | {{'__file__': "
        f"{str(script)!r}}})"
    )
    return run_text(text, **how)  # type: ignore[arg-type]


def _wait(child: Child, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while (code := child.code()) is None:
        if time.monotonic() > deadline:
            os.kill(child.pid, signal.SIGKILL)
            raise AssertionError(f"process {child.pid} still ran after {seconds} s")
        time.sleep(0.005)
    return code


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
