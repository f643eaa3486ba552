"""Steersman and TRL train the same model on the same rows, turn about, and are compared turn by turn.

Three processes are started: ours, TRL as it ships, and TRL with the kernel setting that ours uses (for `dpo` a fourth;
see dpo.py). The first steps are for warming up and for comparing losses; after them each is given a few steps at a
time, in an order that changes every round. All learn from the same rows in the same round, so the ratio of two times is
the ratio of real (unpadded) tokens a second. The median of the rounds' ratios is reported. Start-up, tokenisation and
saving are outside; memory is the process's peak.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data import BATCH, SIZES, Method, prepare

HERE = Path(__file__).resolve().parent
PEER = HERE.parent / ".bench" / "trl-1.16" / "bin" / "python"
COMPARED = 20
"""So many steps' losses are compared."""
# Steps a turn: about as many seconds at each size.
STEPS_A_TURN = {"a": 10, "b": 2, "c": 1}


@dataclass
class Trainer:
    """One of the processes, and what it has answered so far."""

    name: str
    command: list[str]
    threads: int
    log: Path
    turns: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    source: Path | None = None
    """The `src` folder whose Steersman the process imports; None: the installed one."""

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1"}
        if self.source is not None:
            environment["PYTHONPATH"] = str(self.source)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            env=environment,
        )
        self._answer()

    def run(self, steps: int) -> dict[str, float]:
        self._write(str(steps))
        self.turns.append(self._answer())
        return self.turns[-1]

    def end(self) -> dict[str, Any]:
        self._write("end")
        answer = self._answer()
        self.process.wait(60)
        return answer

    def _write(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended by itself; its last words:\n{self.log.read_text()[-3000:]}")
        return json.loads(line)


def trainers(method: str, folder: Path, steps: int, arguments: argparse.Namespace) -> list[Trainer]:
    ours = [sys.executable, str(HERE / "ours.py"), method, str(folder), str(steps), "--kernels", arguments.kernels]
    if arguments.budget:
        ours += ["--budget", str(arguments.budget)]
    theirs = [str(PEER), str(HERE / "peers" / f"trl_{method}.py"), str(folder), str(steps)]
    commands = {"steersman": ours, "trl": theirs, "trl, our kernels": [*theirs, "--kernels", "onednn"]}
    if method == "dpo":
        commands["trl, reference first"] = [*theirs, "--reference-first"]
    return [
        Trainer(name, [*command, "--threads", str(arguments.threads)], arguments.threads, folder / f"{i}.log")
        for i, (name, command) in enumerate(commands.items())
    ]


def measure(method: Method, size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if not PEER.exists():
        raise SystemExit(f"{PEER} is missing; make it with: sh bench/peers/setup.sh")
    turn = STEPS_A_TURN[size]
    steps = arguments.warm_up + turn * arguments.repeats + 2
    folder = Path(tempfile.mkdtemp(prefix="steersman-bench-"))
    running: list[Trainer] = []
    try:
        prepare(folder, size, steps, method)
        running = trainers(method, folder, steps, arguments)
        for trainer in running:
            trainer.start()
            trainer.run(arguments.warm_up)
        for repeat in range(arguments.repeats):
            # each of them is first, second and so on equally often
            for i in range(len(running)):
                running[(i + repeat) % len(running)].run(turn)
        ends = [trainer.end() for trainer in running]
    finally:
        for trainer in running:
            if trainer.process.poll() is None:
                trainer.process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return summary(method, size, turn, running, ends, arguments)


def summary(
    method: str,
    size: str,
    turn: int,
    running: Sequence[Trainer],
    ends: Sequence[dict[str, Any]],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    rounds = [trainer.turns[1:] for trainer in running]
    # Their counts of tokens are whole: any other number would mean other rows.
    assert all(
        one["tokens"] == two["tokens"] for theirs in rounds[1:] for one, two in zip(rounds[0], theirs, strict=True)
    )
    hidden, layers, vocabulary = SIZES[size]
    found: dict[str, Any] = {
        "bench": method,
        "size": size,
        "model": f"hidden {hidden}, layers {layers}, vocabulary {vocabulary}",
        "batch": BATCH,
        "threads": arguments.threads,
        "rounds": arguments.repeats,
        "steps_a_round": turn,
        "load": round(os.getloadavg()[0], 1),
    }
    for trainer, theirs, end in zip(running, rounds, ends, strict=True):
        rates = [row["tokens"] / row["seconds"] for row in theirs]
        rate = statistics.median(rates)
        found[trainer.name] = {
            "tokens_per_second": round(rate),
            "best_tokens_per_second": round(max(rates)),
            "processor_seconds_a_step": round(statistics.median(r["processor_seconds"] for r in theirs) / turn, 4),
            "peak_gb": round(end["peak_gb"], 2),
        }
    for i, name in enumerate(("as shipped", "same kernels", "reference first")[: len(running) - 1], start=1):
        mine = [without_reference(turn) if name == "reference first" else turn for turn in rounds[0]]
        found |= ratios(name, mine, rounds[i])
        losses = zip(ends[0]["losses"][:COMPARED], ends[i]["losses"][:COMPARED], strict=True)
        found[f"largest loss difference, {name}"] = max(abs(a - b) for a, b in losses)
    found["memory ratio"] = round(ends[0]["peak_gb"] / ends[1]["peak_gb"], 2)
    return found


def ratios(name: str, ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Theirs by ours, round by round."""
    pairs = list(zip(ours, theirs, strict=True))
    wall = [their["seconds"] / our["seconds"] for our, their in pairs]
    processor = [their["processor_seconds"] / our["processor_seconds"] for our, their in pairs]
    return {
        f"ratio, {name}": round(statistics.median(wall), 2),
        f"quartiles, {name}": [round(q, 2) for q in statistics.quantiles(wall, n=4)[::2]],
        f"processor time ratio, {name}": round(statistics.median(processor), 2),
    }


def without_reference(turn: dict[str, float]) -> dict[str, float]:
    """A turn of ours less what it spent on asking the reference again."""
    spent: Any = turn["phases"]
    return {name: turn[name] - spent[name] for name in ("seconds", "processor_seconds")}


def options(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("sizes", nargs="*", help="a (1 M parameters), b (12 M), c (60 M); all if none is named")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; each process has a turn in each")
    parser.add_argument("--warm-up", type=int, default=COMPARED, help="steps before the first round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kernels", default="auto", help="of ours: auto, default or onednn")
    parser.add_argument("--budget", type=int, default=None, help="of ours: tokens a micro-batch")
    return parser


def main(method: Method, about: str | None) -> None:
    arguments = options(about).parse_args()
    for size in arguments.sizes or SIZES:
        print(json.dumps(measure(method, size, arguments)), flush=True)
