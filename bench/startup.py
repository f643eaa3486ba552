"""How long `import steersman` and `steersman --help` take: fresh processes, median and best of several, in seconds.

Run: python bench/startup.py [--repeats 9]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import steersman": [sys.executable, "-c", "import steersman"],
    "steersman --help": [str(Path(sys.executable).parent / "steersman"), "--help"],
}
LIMITS = {"import steersman": 0.3, "steersman --help": 0.5}


def once(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time, of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(repeats: int) -> list[dict[str, Any]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for repeat in range(repeats + 1):
        for name, command in COMMANDS.items():
            found = once(command)
            if repeat:  # the first writes and reads caches
                times[name].append(found)
    return [
        {
            "bench": "startup",
            "command": name,
            "seconds": round(statistics.median(t[0] for t in found), 3),
            "best_seconds": round(min(t[0] for t in found), 3),
            "processor_seconds": round(statistics.median(t[1] for t in found), 3),
            **({"limit": LIMITS[name]} if name in LIMITS else {}),
        }
        for name, found in times.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    for row in measure(parser.parse_args().repeats):
        print(json.dumps(row), flush=True)
