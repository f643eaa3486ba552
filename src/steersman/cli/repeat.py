"""One run or several seeds of it, and what is said when they end."""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steersman.errors import Preempted
from steersman.execution.ending import RunResult


def run_and_say(run: Callable[..., RunResult], settings: Any, *, seeds: int, as_json: bool) -> None:
    """Run, print how it ended, and leave with 75 if the run was asked to stop before its end. Of several processes one speaks."""
    if seeds == 1:
        result = run(settings, quiet=as_json)
        _leave_if_stopped(result)
        _say(json.dumps(result.as_dict()) if as_json else "\n".join(lines_of(result)))
        return
    results: list[RunResult] = []
    for offset in range(seeds):
        results.append(run(with_seed(settings, offset), quiet=as_json))
        _leave_if_stopped(results[-1])
    spread = spread_of(results)
    if as_json:
        _say(json.dumps({"runs": [result.as_dict() for result in results], "spread": spread}))
        return
    for result in results:
        _say("\n".join(lines_of(result)))
    _say(f"over {seeds} seeds:")
    for name, numbers in spread.items():
        _say(
            f"  {name:<20} mean {numbers['mean']:.5g}, standard deviation {numbers['deviation']:.3g}, from {numbers['least']:.5g} to {numbers['most']:.5g}"
        )


def with_seed(settings: Any, offset: int) -> Any:
    """The same settings with the seed moved on, in a folder of its own."""
    run = settings.run.model_copy(
        update={
            "seed": settings.run.seed + offset,
            "out": str(Path(settings.run.out) / f"seed-{settings.run.seed + offset}"),
        }
    )
    return settings.model_copy(update={"run": run})


def spread_of(results: list[RunResult]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation (over n - 1) and range of each held-out number over the runs that have it."""
    found: dict[str, dict[str, float]] = {}
    for name in results[0].held_out:
        values = [result.held_out[name] for result in results if name in result.held_out]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = {
            "mean": statistics.fmean(values),
            "deviation": deviation,
            "least": min(values),
            "most": max(values),
        }
    return found


def lines_of(result: RunResult) -> list[str]:
    endings = {
        "finished": "finished",
        "early": "ended early: the held-out measure stopped improving",
        "already finished": "had finished before",
        "stopped by the watch": "stopped by the watch, which found reward hacking,",
    }
    lines = [f"{result.out}: {endings.get(result.ending, result.ending)} at step {result.step}"]
    lines += [f"  {name:<23} {value:.5g}" for name, value in result.measured.items()]
    lines += [f"  held-out {name:<14} {value:.5g}" for name, value in result.held_out.items()]
    if result.best_step != result.step and result.held_out:
        lines.append(f"  the best was step {result.best_step}; its weights are the model's")
    lines += [f"  model: {result.model}", f"  next:  {result.next_command}"]
    return lines


def _say(words: str) -> None:
    # Asked of the environment: the processes have parted by now.
    if os.environ.get("RANK", "0") == "0":
        print(words)


def _leave_if_stopped(result: RunResult) -> None:
    if result.ending == "stopped":
        raise Preempted(f"stopped at step {result.step} as asked, and saved; run the same command again to go on")
