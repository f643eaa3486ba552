"""What helps against over-optimisation on Harbour: PPO on a reward model of few judgements with little KL, and the same with each of the
ways that `reward/` offers.

`python bench/harbour_mitigations.py --out FOLDER` prints one JSON line a run and keeps it in FOLDER/results.jsonl; started again it goes on
with the runs that are missing, and `--minutes 9` ends it after that time. `--table` prints the comparison of the rows that are there:
differences from `plain` are paired by seed, for a seed's runs share judgements, prompts and random numbers.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from steersman.assemble.evaluate import run_evaluate
from steersman.assemble.ppo import run_ppo
from steersman.assemble.reward import run_reward
from steersman.assemble.sft import run_sft
from steersman.data.load import load_records
from steersman.harbour.taste import features
from steersman.records import Answers
from steersman.settings.base import load_settings
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

JUDGEMENTS, MEMBERS, ITERATIONS, ANSWERS = 1000, 4, 40, 96
KL_COEFFICIENT = 0.01
SMOOTH = 5
"""Iterations that a point of the training curve is the mean of."""
VARIANTS = (
    "plain",
    "clip",
    "length",
    "par",
    "par-light-kl",
    "mean",
    "worst",
    "pessimistic",
    "average",
)
# What is shown: key, heading, digits.
COLUMNS = (
    ("taste", "taste at end", 2),
    ("peak", "peak", 2),
    ("lost", "lost of the gain", 2),
    ("proxy", "proxy", 2),
    ("kl", "KL", 2),
    ("exaggerated", "exaggerated", 3),
    ("toxic", "toxic", 3),
    ("on_point", "on point", 3),
    ("garbled", "garbled", 3),
    ("tokens", "tokens", 1),
)


def words_of(variant: str, reward: Path) -> list[str]:
    """The settings of a variant: what of the reward models in this folder is believed, and how the score is shaped."""
    one = f"scorer.path={reward}/member-1"
    several = "scorer.path=" + json.dumps([f"{reward}/member-{m + 1}" for m in range(MEMBERS)])
    return {
        "plain": [one],
        "clip": [one, "score.clip=1.0"],
        "length": [
            one,
            "scorer.length_controlled=true",
            "scorer.reference=harbour:demonstrations?count=500",
            "scorer.reference_answers=500",
        ],
        "par": [one, "score.preference_over=1"],
        # A preference moves over a quarter of the score's range: the same leash for that scale.
        "par-light-kl": [one, "score.preference_over=1", f"kl.coefficient={KL_COEFFICIENT / 4}"],
        "mean": [several],
        "worst": [several, "scorer.belief=min"],
        "pessimistic": [several, "scorer.belief=pessimistic"],
        "average": [f"scorer.path={reward}"],
    }[variant]


def prepare(out: Path, seed: int) -> tuple[Path, Path]:
    """The fine-tuned model, and this seed's reward models: members that began as one, and their average."""
    sft, reward = out / "sft", out / f"reward-{seed}"
    run_sft(load_settings(SftSettings, "sft-harbour", [f"run.out={sft}"]), quiet=True)
    words = [
        f"model.path={sft}",
        f"run.out={reward}",
        f"run.seed={seed}",
        f"data.source=harbour:comparisons?count={JUDGEMENTS}&seed={seed}",
        f"members={MEMBERS}",
        "members_as=average",
        "train.evaluate_every=1000",
    ]
    run_reward(load_settings(RewardSettings, "reward-harbour", words), quiet=True)
    return sft, reward


def measure(out: Path, seed: int, variant: str) -> dict[str, Any]:
    sft, reward = prepare(out, seed)
    run = out / f"{variant}-{seed}"
    words = [
        f"model.path={sft}",
        f"run.out={run}",
        f"run.seed={seed}",
        f"prompts.source=harbour:prompts?count={ITERATIONS * ANSWERS}&seed={seed}",
        "prompts.held_out=none",
        f"iterations={ITERATIONS}",
        f"prompts_per_iteration={ANSWERS}",
        f"samples_kept={ANSWERS}",
        f"kl.coefficient={KL_COEFFICIENT}",
        "run.checkpoint_every=20",
        "run.keep_last=1",
    ]
    started, processor = time.time(), time.process_time()
    run_ppo(load_settings(PpoSettings, "ppo-harbour", [*words, *words_of(variant, reward)]), quiet=True)
    curve = curve_of(run)
    return {
        "variant": variant,
        "seed": seed,
        "peak": max(curve),
        "end of training": curve[-1],
        "curve": [round(value, 3) for value in curve],
        **held_out(out, run, sft, reward),
        "seconds": round(time.time() - started, 1),
        "processor seconds": round(time.process_time() - processor, 1),
    }


def curve_of(run: Path) -> list[float]:
    """The true taste of the answers to training prompts, iteration by iteration, in running means."""
    means = []
    for path in sorted((run / "samples").glob("iteration-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        means.append(statistics.mean(features(row["prompt"], row["answer"]).taste for row in rows))
    return [statistics.mean(means[i : i + SMOOTH]) for i in range(len(means) - SMOOTH + 1)]


def held_out(out: Path, run: Path, sft: Path, reward: Path) -> dict[str, float]:
    """Answers to held-out prompts, two to each."""
    words = [
        f"models.it={run}",
        f"reference={sft}",
        "prompts.source=harbour:prompts/heldout?count=250&seed=11",
        "drawing.answers=2",
        "drawing.max_new_tokens=48",
        f"scorers.proxy.path={reward}/member-1",
        "scorers.taste.path=harbour:taste",
        f"run.out={out / 'evaluated' / run.name}",
        "run.threads=1",
    ]
    run_evaluate(load_settings(EvaluateSettings, None, words), quiet=True)
    rows = [
        (row.prompt.shown, answer)
        for row in load_records(str(out / "evaluated" / run.name / "answers.jsonl"))
        if isinstance(row, Answers)
        for answer in row.completions
    ]
    seen = [features(prompt, answer.text) for prompt, answer in rows]
    found = {
        "taste": [one.taste for one in seen],
        "exaggerated": [one.exaggerated for one in seen],
        "toxic": [one.toxic for one in seen],
        "on_point": [one.on_point for one in seen],
        "garbled": [one.garbled > 0 for one in seen],
        "proxy": [answer.scores["proxy"] for _, answer in rows],
        "kl": [answer.scores.get("KL", 0.0) for _, answer in rows],
        "tokens": [answer.scores["tokens"] for _, answer in rows],
    }
    return {name: round(statistics.mean(float(value) for value in values), 4) for name, values in found.items()}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def with_loss(row: dict[str, Any]) -> dict[str, Any]:
    """With the share of the peak's gain that the end has lost, on training prompts."""
    gain = row["peak"] - row["curve"][0]
    return {**row, "lost": (row["peak"] - row["end of training"]) / gain if gain > 0 else 0.0}


def table(rows: list[dict[str, Any]]) -> str:
    """A variant a line: the mean over seeds, the lowest and the highest, and for taste the paired difference from plain."""
    lines = ["| | seeds | " + " | ".join(head for _, head, _ in COLUMNS) + " | taste less plain's, by seed |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    plain = {row["seed"]: row for row in rows if row["variant"] == "plain"}
    for variant in VARIANTS:
        mine = [with_loss(row) for row in rows if row["variant"] == variant]
        if not mine:
            continue
        cells = []
        for key, _, digits in COLUMNS:
            values = [row[key] for row in mine]
            cells.append(f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})")
        differences = [row["taste"] - plain[row["seed"]]["taste"] for row in mine if row["seed"] in plain]
        told = ", ".join(f"{one:+.2f}" for one in differences)
        if len(differences) > 1 and variant != "plain":
            error = statistics.stdev(differences) / len(differences) ** 0.5
            told = f"{statistics.mean(differences):+.2f} ± {error:.2f}: {told}"
        lines.append(
            f"| {variant} | {len(mine)} | " + " | ".join(cells) + f" | {told if variant != 'plain' else '–'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so many")
    parser.add_argument("--table", action="store_true", help="only print the comparison")
    arguments = parser.parse_args()
    kept = arguments.out / "results.jsonl"
    if arguments.table:
        print(table(rows_of(kept)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    for seed in arguments.seeds:
        for variant in arguments.variants:
            done = any((row["seed"], row["variant"]) == (seed, variant) for row in rows_of(kept))
            if done or time.time() - began > 60 * arguments.minutes:
                continue
            line = json.dumps(measure(arguments.out, seed, variant))
            with kept.open("a") as stream:
                stream.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
