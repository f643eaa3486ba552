"""What helps PPO's critic on Harbour: warm-up of the value head, a start from the reward model, a lambda of its own.

Run: python bench/harbour_critic.py FOLDER [--seeds 4] [--arms plain warmup ...] [--iterations 40] [--minutes 9]. Each
seed has its own demonstrations, fine-tuned model and reward model; the arms of a seed share them. Each step is the
command that a user would run, and resumes: what FOLDER holds is not done again, and after --minutes the script stops
between two steps (or within a PPO run, which is stopped and continued at the next call). One row for each run goes to
FOLDER/results.jsonl; the table of all rows is printed at the end.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ARMS: dict[str, list[str]] = {
    "plain": [],
    "warmup": ["value_warmup=5"],
    "rate": ["value_learning_rate=5e-3"],
    "warmup-rate": ["value_warmup=5", "value_learning_rate=5e-3"],
    "head": ["critic={reward}"],
    "lambda": ["advantage.gae_lambda=0.95", "advantage.critic_lambda=1.0"],
    "all": ["value_warmup=5", "critic={reward}", "advantage.gae_lambda=0.95", "advantage.critic_lambda=1.0"],
}
"""What each arm is told besides the recipe ppo-harbour, in which lambda is 1."""
ANSWERS = ["prompts_per_iteration=128"]


class TimeIsUpError(Exception):
    """The time that was given is over; what is done stays."""


def run(words: list[str], log: Path, deadline: float) -> None:
    """Run a command of Steersman; at the deadline it is asked to stop, and saves a checkpoint."""
    if time.monotonic() >= deadline:
        raise TimeIsUpError
    with log.open("a") as file:
        process = subprocess.Popen([sys.executable, "-m", "steersman", *words], stdout=file, stderr=file)
        try:
            status = process.wait(timeout=deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            status = process.wait()
    if status == 75:
        raise TimeIsUpError
    if status:
        raise SystemExit(f"steersman {' '.join(words)} ended with {status}; see {log}")


def finished(out: Path) -> bool:
    ending = out / "ending.json"
    return ending.exists() and json.loads(ending.read_text()).get("state") == "finished"


def one_arm(folder: Path, arm: str, seed: int, iterations: int, deadline: float) -> dict[str, Any]:
    """Train what is missing, and what the arm's journal says."""
    place = folder / f"seed-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    sft, reward, out = place / "sft", place / "reward", place / arm
    common = ["--seed", str(seed), "--json"]
    steps = [
        (sft, ["sft", "sft-harbour", "--data", f"harbour:demonstrations?count=1000&seed={seed}"]),
        (
            reward,
            ["reward", "reward-harbour", "--model", str(sft), "--data", f"harbour:comparisons?count=4000&seed={seed}"],
        ),
    ]
    told = [word.format(reward=reward) for word in ARMS[arm]]
    policy = ["ppo", "ppo-harbour", "--model", str(sft), "--scorer", str(reward), f"iterations={iterations}", *ANSWERS]
    # The true taste of held-out answers, beside the score that is trained.
    policy += ["watch.held_out_scorer.path=harbour:taste", "watch.held_out_every=1", "evaluation.every=40", *told]
    for path, words in [*steps, (out, policy)]:
        if not finished(path):
            run([*words, "--out", str(path), *common], place / f"{path.name}.log", deadline)
    return {"arm": arm, "seed": seed, "iterations": iterations, **measured(out)}


def measured(out: Path) -> dict[str, float]:
    """Explained variance early and late, and scores and true taste over the last five iterations."""
    rows = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "explained variance" in row]

    def mean(name: str, chosen: list[dict[str, Any]]) -> float:
        found = [row[name] for row in chosen if row.get(name) is not None]
        return round(statistics.fmean(found), 4) if found else float("nan")

    return {
        "explained variance, 1 to 5": mean("explained variance", rows[:5]),
        "explained variance, 6 to 15": mean("explained variance", rows[5:15]),
        "explained variance, last 5": mean("explained variance", rows[-5:]),
        "score, 11 to 15": mean("score", rows[10:15]),
        "score, last 5": mean("score", rows[-5:]),
        "true taste gained, last 5": mean("watch held-out gain", rows[-5:]),
        "KL, last 5": mean("KL to reference", rows[-5:]),
    }


def show(rows: list[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name not in ("arm", "seed", "iterations")] if rows else []
    print("| arm | seeds |", " | ".join(names), "|")
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        if own:
            means = [f"{statistics.fmean(row[name] for row in own):.3f}" for name in names]
            print(f"| {arm} | {len(own)} |", " | ".join(means), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=9.0)
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["arm"], row["seed"], row["iterations"]) for row in rows}
    try:
        for seed in range(given.seeds):
            for arm in given.arms:
                if (arm, seed, given.iterations) in done:
                    continue
                rows.append(one_arm(given.folder, arm, seed, given.iterations, deadline))
                with path.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    except TimeIsUpError:
        print("time is up; the same command goes on", file=sys.stderr)
    show([row for row in rows if row["iterations"] == given.iterations])


if __name__ == "__main__":
    main()
