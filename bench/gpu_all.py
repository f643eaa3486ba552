"""Everything that waits for a GPU, in one call of at most nine minutes, the most important first.

    python bench/gpu_all.py --out gpu.jsonl           # on a GPU
    python bench/gpu_all.py --tiny --out gpu.jsonl    # the same steps, tiny, on any machine: does it all run?
    python bench/gpu_all.py --only decode,update --out gpu.jsonl

Each step is a process with a budget of seconds. Its results are printed and appended to the file as they come, so that
nothing is lost when a step fails, hangs or runs out of time: the next one begins. A step that does not fit what is left
of the nine minutes is left out, and its line says so.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEER = ROOT / ".bench" / "trl-1.12" / "bin" / "python"
MINUTES = 9.0


@dataclass(frozen=True)
class Step:
    """`command` is the process; it prints JSON lines. `budget` is in seconds, `tiny_budget` with --tiny.

    `tiny` is False for what --tiny has run already: the same code at another size.
    """

    name: str
    budget: float
    command: Callable[[bool], list[str]]
    tiny: bool = True
    tiny_budget: float = 240.0


def own(part: str, *words: str) -> Callable[[bool], list[str]]:
    """A step that `gpu_steps.py` runs."""
    return lambda tiny: [sys.executable, str(HERE / "gpu_steps.py"), part, *words, *(["--tiny"] if tiny else [])]


TESTS = (
    "tests/models/test_packed_attention.py",
    "tests/methods/ppo/test_ppo_recorded.py",
    "tests/rollout/test_gpu_kernels.py",
    "tests/models/test_offloaded.py",
    "tests/methods/ppo/test_offload.py",
    "tests/models/test_compiled.py",
)


def tests(*words: str) -> Callable[[bool], list[str]]:
    """Tests that need a GPU; with --tiny, all of them are collected and none is run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--timeout", "110"]
    return lambda tiny: [*command, *(["--collect-only", *TESTS] if tiny else words)]


def missing(what: str) -> list[str]:
    return [sys.executable, "-c", f"print({json.dumps(json.dumps({'bench': 'missing', 'what': what}))})"]


def beside_trl(tiny: bool) -> list[str]:
    peer = PEER if PEER.exists() else shutil.which("trl-python")
    if tiny or peer is None:
        return missing("TRL 1.12 (bench/peers/setup.sh)")
    options = ["--rounds", "2", "--compile", "--with", "adapters", "--peer", str(peer)]
    return [sys.executable, str(HERE / "ppo.py"), "d", *options]


def by_vllm(tiny: bool) -> list[str]:
    return missing("vLLM") if importlib.util.find_spec("vllm") is None else own("vllm", "d")(tiny)


STEPS = (
    Step("tests packed", 70, tests("tests/models/test_packed_attention.py")),
    Step("tests recorded", 40, tests("tests/methods/ppo/test_ppo_recorded.py", "-k", "gpu"), tiny=False),
    Step("tests kernels", 60, tests("tests/rollout/test_gpu_kernels.py"), tiny=False),
    Step("update d", 75, own("update", "d")),
    Step("decode d", 40, own("decode", "d")),
    Step("update e", 85, own("update", "e"), tiny=False),
    Step("decode e", 40, own("decode", "e"), tiny=False),
    Step("long answers e", 45, own("long", "e")),
    Step("iteration d", 70, own("iteration", "d")),
    Step("decode f", 50, own("decode", "f"), tiny=False),
    Step("iteration d beside TRL", 90, beside_trl),
    Step("iteration e", 80, own("iteration", "e"), tiny=False),
    Step("vllm d", 60, by_vllm),
    Step(
        "tests off-load", 40, tests("tests/models/test_offloaded.py", "tests/methods/ppo/test_offload.py"), tiny=False
    ),
    Step("tests compiled", 60, tests("tests/models/test_compiled.py", "-m", "slow"), tiny=False),
)


class Results:
    """Lines that are printed and appended to a file at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        line = json.dumps(row)
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def run_step(step: Step, seconds: float, tiny: bool, results: Results) -> None:
    """Run one step for at most so many seconds. Whatever happens in it becomes a line."""
    began = time.monotonic()
    tail: list[str] = []
    try:
        process = start(step.command(tiny))
    except OSError as error:
        results.add({"step": step.name, "failed": str(error)})
        return
    timer = threading.Timer(seconds, stop, [process])
    timer.start()
    try:
        for line in lines_of(process):
            found = parsed(line)
            if found is not None:
                results.add({"step": step.name, **found})
            else:
                tail = [*tail, line.rstrip()][-8:]
        code = process.wait()
    finally:
        timer.cancel()
        stop(process)
    spent = time.monotonic() - began
    row: dict[str, Any] = {"step": step.name, "ended": code, "seconds": round(spent, 1)}
    if spent >= seconds:
        row["stopped"] = f"after its budget of {seconds:.0f} s"
    if code != 0 or step.name.startswith("tests"):
        row["said"] = tail
    results.add(row)


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    environment |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    return subprocess.Popen(command, env=environment, start_new_session=True, errors="replace", **options)


def stop(process: subprocess.Popen[str]) -> None:
    """End the step's own process group, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    yield from process.stdout


def parsed(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found: object = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines are appended to this file")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", help="names of steps, or their first words, with commas")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    arguments = parser.parse_args()
    wanted = None if arguments.only is None else tuple(arguments.only.split(","))
    steps = [one for one in STEPS if wanted is None or one.name.startswith(wanted)]
    if not steps:
        parser.error(f"--only={arguments.only} names no step; expected some of {', '.join(s.name for s in STEPS)}")
    results = Results(arguments.out)
    end = time.monotonic() + 60 * arguments.minutes
    for step in steps:
        left = end - time.monotonic()
        budget = step.tiny_budget if arguments.tiny else step.budget
        if arguments.tiny and not step.tiny:
            results.add({"step": step.name, "left out": "with --tiny the same as a step before it"})
            continue
        if left < min(15.0, budget):
            results.add({"step": step.name, "left out": f"{max(left, 0):.0f} s are left"})
            continue
        try:
            run_step(step, min(budget, left), arguments.tiny, results)
        except Exception as error:  # the other steps are not to be lost
            results.add({"step": step.name, "failed": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
