"""Running one seed or several, and the output at the end."""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steersman.errors import Preempted
from steersman.execution.ending import RunResult
from steersman.printing import say


def run_and_say(run: Callable[..., RunResult], settings: Any, *, seeds: int, as_json: bool) -> None:
    """Run the settings for each seed and print the results; only rank 0 prints. Exit with code 75 if a run was asked to
    stop before its end."""
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
            f"  {name:<20} mean {numbers['mean']:.5g}, standard deviation {numbers['deviation']:.3g}, from "
            f"{numbers['least']:.5g} to {numbers['most']:.5g}"
        )


def with_seed(settings: Any, offset: int) -> Any:
    """The settings with the seed increased by `offset`, and a sub-folder for that seed."""
    run = settings.run.model_copy(
        update={
            "seed": settings.run.seed + offset,
            "out": str(Path(settings.run.out) / f"seed-{settings.run.seed + offset}"),
        }
    )
    return settings.model_copy(update={"run": run})


def spread_of(results: list[RunResult]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation (over n - 1) and range of each held-out metric, over the runs that have it."""
    spread: dict[str, dict[str, float]] = {}
    for name in results[0].held_out:
        values = [result.held_out[name] for result in results if name in result.held_out]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        spread[name] = {
            "mean": statistics.fmean(values),
            "deviation": deviation,
            "least": min(values),
            "most": max(values),
        }
    return spread


def lines_of(result: RunResult) -> list[str]:
    endings = {
        "finished": "finished",
        "early": "stopped early, because the held-out metric stopped improving,",
        "already finished": "had finished before",
        "stopped by the watch": "stopped by the watch, which found reward hacking,",
    }
    lines = [f"{result.out}: {endings.get(result.ending, result.ending)} at step {result.step}"]
    lines += [f"  {name:<23} {value:.5g}" for name, value in result.measured.items()]
    lines += [f"  held-out {name:<14} {value:.5g}" for name, value in result.held_out.items()]
    if result.best_step != result.step and result.held_out:
        lines.append(f"  the best step was {result.best_step}; the model has its weights")
    lines += [f"  model: {result.model}", f"  next:  {result.next_command}"]
    return lines


def _say(text: str) -> None:
    # The rank comes from the environment: the process group has ended by now.
    if os.environ.get("RANK", "0") == "0":
        say(text)


def _leave_if_stopped(result: RunResult) -> None:
    if result.ending == "stopped":
        raise Preempted(f"stopped at step {result.step} as requested, and saved; run the same command again to resume")
