"""What `make bench` runs: every comparison, one JSON line a measurement, and a table in docs/benchmarks.md.

Run: python bench/run.py [startup machine sft reward dpo ppo rollouts] [--write]. The peer's environment is made first
if it is not there. On a machine with other work the ratios still mean something, for both sides take turns; seconds do
not.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("startup", "machine", "sft", "reward", "dpo", "ppo", "rollouts")
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def lines_of(part: str) -> list[dict[str, Any]]:
    """The JSON lines that a benchmark prints, shown as they come."""
    found: list[dict[str, Any]] = []
    with subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / f"{part}.py")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            found.append({"part": part, **json.loads(line)})
    if process.returncode:
        sys.exit(f"bench/{part}.py ended with {process.returncode}; what it printed stands above")
    return found


def row_of(measured: dict[str, Any]) -> str:
    """One measurement as a row: what, at which size, and its ratios and medians."""
    names = [str(measured[key]) for key in ("part", "size", "lengths", "case", "what", "command") if key in measured]
    figures = {
        name: value
        for name, value in measured.items()
        if (name.startswith(("ratio", "memory ratio")) and not name.startswith("ratio_of"))
        or name in ("seconds", "median", "peak_gb", "gigaflops")
    }
    told = ", ".join(f"{name} {value}" for name, value in figures.items()) or "see the JSON line"
    return f"| {' '.join(names)} | {told} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=PARTS, help="which benchmarks (all)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if {"sft", "reward", "dpo", "ppo"} & set(arguments.parts):
        subprocess.run(["sh", str(ROOT / "bench" / "peers" / "setup.sh"), sys.executable], check=True)
    measured = [line for part in arguments.parts for line in lines_of(part)]
    kept = ROOT / ".bench" / "results.jsonl"
    kept.parent.mkdir(exist_ok=True)
    with kept.open("a") as file:
        file.writelines(json.dumps({"time": time.time(), **line}) + "\n" for line in measured)
    table = "\n".join(["| what | measured |", "|---|---|", *(row_of(line) for line in measured)])
    print(table)
    if arguments.write:
        text = PAGE.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{time.strftime('%Y-%m-%d')}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    main()
