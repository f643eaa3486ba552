"""Steersman's side of a training benchmark: the real `sft`, `reward` or `dpo` on prepared data, a few steps at a time.

What is timed is the whole loop from one step's beginning to a later one's: rows, step, journal, progress.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from turns import Turns

LEARNING_RATE, CLIP = 1e-4, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=["sft", "reward", "dpo"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=int, default=None)
    arguments = parser.parse_args()
    # What the command does before anything else.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    import torch

    from steersman.settings.base import check
    from steersman.train.core import Learner

    torch.set_num_threads(arguments.threads)
    values: dict[str, Any] = {
        "model": {"path": str(arguments.folder / "model")},
        "data": {"source": str(arguments.folder / "ours.jsonl"), "held_out": 0.0},
        "optimiser": {"learning_rate": LEARNING_RATE, "schedule": "constant", "warmup": 0, "max_grad_norm": CLIP},
        "train": {"batch_size": 16, "steps": arguments.steps, "kernels": arguments.kernels},
        "run": {"out": str(arguments.folder / f"run-{os.getpid()}"), "threads": arguments.threads},
    }
    if arguments.budget:
        values["train"]["tokens_per_micro_batch"] = arguments.budget
    values["run"]["checkpoint_every"] = 10**9
    losses: list[float] = []
    tokens = [0]
    phases: dict[str, float] = {}
    turns = Turns(lambda: losses, lambda: tokens[0], lambda: phases)
    asked_again = reference_again(phases) if arguments.method == "dpo" else None
    step = Learner.step

    def in_turn(self: Any, units: Sequence[Any], objective: Any) -> Any:
        turns.step_begins()
        if asked_again is not None:
            asked_again([row for unit in units for row in unit.group.rows])
        report = step(self, units, objective)
        losses.append(report.loss)
        tokens[0] += report.tokens
        return report

    Learner.step = in_turn  # type: ignore[method-assign]
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.method == "sft":
            from steersman.assemble.sft import run_sft
            from steersman.settings.sft import SftSettings

            run_sft(check(SftSettings, values), quiet=True)
        elif arguments.method == "dpo":
            from steersman.assemble.dpo import run_dpo
            from steersman.settings.dpo import DpoSettings

            run_dpo(check(DpoSettings, {**values, "beta": 0.1}), quiet=True)
        else:
            from steersman.assemble.reward.run import run_reward
            from steersman.settings.reward import RewardSettings

            run_reward(check(RewardSettings, {**values, "centring": 0.0}), quiet=True)


def reference_again(phases: dict[str, float]) -> Callable[[Sequence[Any]], None]:
    """Ask the reference in the same way as before the first step, and note how long that took."""
    from steersman.training_data import reference

    log_probs_of, how = reference.log_probs_of, []
    phases |= {"seconds": 0.0, "processor_seconds": 0.0}

    def noting(rows: Sequence[Any], *who_and_how: Any) -> Any:
        how[:] = who_and_how
        return log_probs_of(rows, *who_and_how)

    def again(rows: Sequence[Any]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        log_probs_of(rows, *how)
        phases["seconds"] += time.perf_counter() - wall
        phases["processor_seconds"] += time.process_time() - processor

    reference.log_probs_of = noting
    return again


if __name__ == "__main__":
    main()
