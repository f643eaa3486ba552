"""A PPO iteration: Steersman against TRL's PPOTrainer (1.12.0, the last release with one), alternating, same prompts.

Four processes are started: ours with one trunk for policy and critic, ours like for like (every role a model of its
own), TRL as it ships, and TRL with oneDNN's kernels. 64 prompts of 8 to 32 tokens get answers of 8 to 64 tokens, how
many stands in the prompt, so that all sides have the same work in every iteration; then 4 epochs of 4 minibatches, 16
optimiser steps, in float32 without gradient checkpointing. Each is given one iteration at a time, in an order that
changes every round; reported are the medians of the rounds' ratios, by the clock and by processor time, peak memory
above what the imports take, and how far ours is from what this machine could do at best: the operations that the layout
needs over the measured peak of a matrix product.

Run: python bench/ppo.py [a b c] [--rounds 5] [--threads 2] [--with adapters]; the peer's environment is made by
bench/peers/setup.sh. `--before CHECKOUT` compares with an earlier checkout of Steersman instead. `--epochs 1` times one
epoch and counts its update four times, where an iteration takes minutes.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from data import SIZES, prepare_ppo
from machine import best_peak, model_shape
from steersman.costs.work import iteration_operations
from training import Trainer

HERE = Path(__file__).resolve().parent
PEER = HERE.parent / ".bench" / "trl-1.12" / "bin" / "python"
EPOCHS = 4
# One process each; the last two are the peers.
SIDES = ("shared", "separate", "trl", "trl, same kernels")
GPU_SIDES = ("shared", "separate", "trl")
PEERS = {"as shipped": "trl", "same kernels": "trl, same kernels"}


def command_of(side: str, folder: Path, arguments: argparse.Namespace) -> list[str]:
    if side.startswith("trl"):
        kernels = "onednn" if "same" in side else "default"
        found = [arguments.peer, str(HERE / "peers" / "trl_ppo.py"), str(folder), "100000", "--kernels", kernels]
    else:
        found = [
            sys.executable,
            str(HERE / "ours_ppo.py"),
            str(folder),
            "--layout",
            side,
            "--kernels",
            arguments.kernels,
            *(["--compile"] if arguments.compile else []),
        ]
    return [*found, "--threads", str(arguments.threads), "--epochs", str(arguments.epochs)]


def whole(turn: dict[str, Any], epochs: int, clock: str) -> float:
    """An iteration of four epochs, if only some were run: the update's time as often as it would have been needed."""
    if epochs == EPOCHS:
        return turn[clock]
    update = turn["phases"]["update"] * turn[clock] / turn["seconds"]
    return turn[clock] + update * (EPOCHS / epochs - 1)


def measure(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if not (Path(arguments.peer).exists() or shutil.which(arguments.peer)):
        raise SystemExit(f"{arguments.peer} is missing; make it with: sh bench/peers/setup.sh")
    folder = Path(tempfile.mkdtemp(prefix="steersman-bench-"))
    on_gpu = torch.cuda.is_available()
    sides = [*(GPU_SIDES if on_gpu else SIDES), *arguments.extra]
    running: dict[str, Trainer] = {}
    try:
        prepare_ppo(folder, size)
        for i, side in enumerate(sides):
            command = command_of(side, folder, arguments)
            running[side] = Trainer(side, command, arguments.threads, folder / f"{i}.log")
            running[side].start()
        for repeat in range(arguments.rounds + arguments.warm_up):
            for i in range(len(sides)):
                running[sides[(i + repeat) % len(sides)]].run(1)
        ends = {side: trainer.end() for side, trainer in running.items()}
        lengths = json.loads((folder / "lengths.json").read_text())
    finally:
        for trainer in running.values():
            if trainer.process.poll() is None:
                trainer.process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    turns = {side: trainer.turns[arguments.warm_up :] for side, trainer in running.items()}
    return summary(size, turns, ends, lengths, arguments)


def summary(
    size: str,
    turns: dict[str, list[dict[str, Any]]],
    ends: dict[str, dict[str, Any]],
    lengths: dict[str, list[int]],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    hidden, layers, vocabulary = SIZES[size]
    peak = best_peak(arguments.threads)
    found: dict[str, Any] = {
        "bench": "ppo",
        "size": size,
        "model": f"hidden {hidden}, layers {layers}, vocabulary {vocabulary}",
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "epochs timed": arguments.epochs,
        "load": round(os.getloadavg()[0], 1),
        "gigaflops": round(peak / 1e9),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    for side, rounds in turns.items():
        wall = statistics.median(whole(turn, arguments.epochs, "seconds") for turn in rounds)
        processor = statistics.median(whole(turn, arguments.epochs, "processor_seconds") for turn in rounds)
        found[side] = {
            "seconds": round(wall, 2),
            "processor_seconds": round(processor, 2),
            "phases": {
                name: round(statistics.median(turn["phases"][name] for turn in rounds), 2)
                for name in rounds[0]["phases"]
            },
            "gb_above_imports": round(ends[side]["peak_gb"] - ends[side]["imported_gb"], 3),
        }
        if not side.startswith("trl"):
            needed = iteration_operations(
                model_shape(size), layout=side, epochs=EPOCHS, prompts=lengths["prompts"], answers=lengths["answers"]
            )
            found[side]["gigaflop"] = round(needed / 1e9)
            # processor time over threads: what the machine would take if it had nothing else to do
            spent = wall if torch.cuda.is_available() else processor / arguments.threads
            found[side]["times_the_limit"] = round(spent / (needed / peak), 2)
    for side in turns:
        if side.startswith("trl"):
            continue
        for name, peer in PEERS.items():
            if peer not in turns:
                continue
            pairs = list(zip(turns[side], turns[peer], strict=True))
            for clock, key in (("seconds", "ratio"), ("processor_seconds", "processor ratio")):
                ratios = [whole(b, arguments.epochs, clock) / whole(a, arguments.epochs, clock) for a, b in pairs]
                found[f"{key}, {side}, {name}"] = round(statistics.median(ratios), 2)
        memory = found[side]["gb_above_imports"] / found["trl"]["gb_above_imports"]
        found[f"memory ratio, {side}"] = round(memory, 2)
    return found


def against_before(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """This checkout against an earlier one, alternating iterations: median ratio of processor times per layout, 95 %
    CI.

    Each side runs its own checkout's bench/ours_ppo.py. A ratio below 1 means that this checkout is faster.
    """
    checkouts = {"now": HERE.parent, "before": Path(arguments.before).resolve()}
    folder = Path(tempfile.mkdtemp(prefix="steersman-bench-"))
    found: dict[str, Any] = {"bench": "ppo before", "size": size, "rounds": arguments.rounds}
    try:
        prepare_ppo(folder, size)
        for layout in arguments.extra or ("adapters", "shared"):
            sides = {name: our_trainer(name, path, layout, folder, arguments) for name, path in checkouts.items()}
            try:
                for side in sides.values():
                    side.start()
                for repeat in range(arguments.rounds + arguments.warm_up):
                    for name in sorted(sides, reverse=bool(repeat % 2)):
                        sides[name].run(1)
            finally:
                for side in sides.values():
                    side.process.kill()
            pairs = zip(sides["now"].turns, sides["before"].turns, strict=True)
            ratios = [a["processor_seconds"] / b["processor_seconds"] for a, b in pairs][arguments.warm_up :]
            low, high = median_interval(ratios)
            found[layout] = {
                "ratio": round(statistics.median(ratios), 3),
                "interval": [round(low, 3), round(high, 3)],
                **{
                    f"{name} seconds": round(
                        statistics.median(t["processor_seconds"] for t in side.turns[arguments.warm_up :]), 3
                    )
                    for name, side in sides.items()
                },
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def our_trainer(name: str, checkout: Path, layout: str, folder: Path, arguments: argparse.Namespace) -> Trainer:
    script, threads = checkout / "bench" / "ours_ppo.py", str(arguments.threads)
    command = [sys.executable, str(script), str(folder), "--layout", layout, "--threads", threads]
    command += ["--kernels", arguments.kernels, "--epochs", str(arguments.epochs)]
    return Trainer(name, command, arguments.threads, folder / f"{layout}-{name}.log", source=checkout / "src")


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median by order statistics: the number of values below it is binomial with p = 1/2."""
    ordered, count = sorted(values), len(values)
    below, rank = 0.0, 0
    while rank < count // 2 and below + math.comb(count, rank) / 2**count <= 0.025:
        below += math.comb(count, rank) / 2**count
        rank += 1
    return ordered[max(rank - 1, 0)], ordered[min(count - rank, count - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="a (1 M parameters), b (12 M), c (60 M); all if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="each of the processes has a turn in each")
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--kernels", default="auto", help="of ours: auto, default or onednn")
    parser.add_argument("--compile", action="store_true", help="ours, on a GPU: compute.compile=true")
    parser.add_argument("--peer", default=str(PEER), help="the interpreter that has TRL 1.12")
    parser.add_argument("--before", help="an earlier checkout to compare with, in place of the peers")
    parser.add_argument("--with", dest="extra", nargs="*", default=[], help="more of our layouts, such as adapters")
    arguments = parser.parse_args()
    for size in arguments.sizes or SIZES:
        print(json.dumps((against_before if arguments.before else measure)(size, arguments)), flush=True)


if __name__ == "__main__":
    main()
