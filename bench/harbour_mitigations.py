"""Mitigations of over-optimisation on Harbour: PPO with a weak reward model and small KL penalty, plain and with each.

`python bench/harbour_mitigations.py --out FOLDER` prints one JSON line a run and keeps it in FOLDER/results.jsonl;
started again it goes on with the runs that are missing, and `--minutes 9` ends it after that time. `--table` prints the
comparison of the rows that are there: differences from `plain` are paired by seed, for a seed's runs share judgements,
prompts and random numbers.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.ppo.run import run_ppo
from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.harbour.taste import UNCLEAR, features
from steersman.loading.scorers import load_scorer
from steersman.records import Message, Prompt
from steersman.settings.base import check, load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings
from steersman.settings.sft import SftSettings

JUDGEMENTS, FONDNESS, MEMBERS = 800, 2, 3
"""Few judgements, by people who are twice as fond of exaggeration as Harbour's usual ones."""
ITERATIONS, ANSWERS = 18, 64
KL_COEFFICIENT, LEARNING_RATE = 0.01, 4e-4
"""So that it over-optimises a little in half a minute of one core."""
SMOOTH = 4
"""Iterations that a point of the curve is the mean of: 256 answers, each to a prompt that was never asked before."""
VARIANTS = ("plain", "worst", "average", "par", "clip", "length", "pessimistic", "mean")
# What is shown: key, heading, digits.
COLUMNS = (
    ("taste", "taste at end", 2),
    ("peak", "peak", 2),
    ("lost", "lost since", 2),
    ("proxy", "proxy", 2),
    ("kl", "KL", 2),
    ("exaggerated", "exaggerated", 3),
    ("toxic", "toxic", 3),
    ("on_point", "on point", 3),
    ("garbled", "garbled", 3),
    ("tokens", "tokens", 1),
    ("processor seconds", "seconds", 0),
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
        # A preference moves by a quarter of what the score moves by: the same leash for that scale.
        "par": [one, "score.preference_over=1", f"kl.coefficient={KL_COEFFICIENT / 4}"],
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
        f"data.source=harbour:comparisons?count={JUDGEMENTS}&seed={seed}&fondness={FONDNESS}",
        "data.held_out=none",
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
        "evaluation.every=1000",
        f"iterations={ITERATIONS}",
        f"prompts_per_iteration={ANSWERS}",
        f"samples_kept={ANSWERS}",
        f"kl.coefficient={KL_COEFFICIENT}",
        f"optimiser.learning_rate={LEARNING_RATE}",
        "optimiser.schedule=constant",
        # Those of plain, to look at where it went wrong: steersman evaluate --checkpoints FOLDER/plain-0
        *(["run.checkpoint_every=2", "run.keep_every=2"] if variant == "plain" else ["run.checkpoint_every=18"]),
        "watch.action=off",
    ]
    started, processor = time.time(), time.process_time()
    result = run_ppo(load_settings(PpoSettings, "ppo-harbour", [*words, *words_of(variant, reward)]), quiet=True)
    if result.ending == "stopped":
        sys.exit(f"stopped in the middle of {run.name}; the same command goes on from there")
    iterations = answered(run)
    curve = curve_of(iterations)
    return {
        "variant": variant,
        "seed": seed,
        "peak": max(curve),
        "curve": [round(value, 3) for value in curve],
        **at_the_end(iterations, reward),
        "seconds": round(time.time() - started, 1),
        "processor seconds": round(time.process_time() - processor, 1),
    }


def answered(run: Path) -> list[list[dict[str, Any]]]:
    """The answers of every iteration."""
    paths = sorted((run / "samples").glob("iteration-*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


def curve_of(iterations: list[list[dict[str, Any]]]) -> list[float]:
    """The true taste, iteration by iteration, in running means."""
    means = [statistics.mean(features(row["prompt"], row["answer"]).taste for row in rows) for rows in iterations]
    return [statistics.mean(means[i : i + SMOOTH]) for i in range(len(means) - SMOOTH + 1)]


def at_the_end(iterations: list[list[dict[str, Any]]], reward: Path) -> dict[str, float]:
    """The answers of the last iterations: their properties, and their scores by the reward model of `plain`."""
    rows = [row for iteration in iterations[-SMOOTH:] for row in iteration]
    seen = [features(row["prompt"], row["answer"]) for row in rows]
    scorer = load_scorer(check(ScorerSettings, {"path": f"{reward}/member-1"}), torch.device("cpu"))
    prompts = [Prompt((Message("user", row["prompt"]),)) for row in rows]
    scores = scorer.score([(prompt, row["answer"]) for prompt, row in zip(prompts, rows, strict=True)])
    apart = [
        sum(own - theirs for own, theirs in zip(row["log_probs"], row["reference_log_probs"], strict=True))
        for row in rows
    ]
    found = {
        "taste": [one.taste for one in seen],
        "exaggerated": [one.exaggerated for one in seen],
        "toxic": [one.toxic for one in seen],
        "on_point": [one.on_point for one in seen],
        "garbled": [one.garbled > UNCLEAR for one in seen],
        "proxy": [score.value for score in scores],
        "kl": apart,
        "tokens": [len(row["ids"]) for row in rows],
    }
    return {name: round(statistics.mean(float(value) for value in values), 4) for name, values in found.items()}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def with_loss(row: dict[str, Any]) -> dict[str, Any]:
    """With what the end has lost of the peak."""
    return {**row, "lost": row["peak"] - row["taste"]}


def table(rows: list[dict[str, Any]]) -> str:
    """One line per variant: mean over seeds, lowest and highest, and for taste the paired difference from plain."""
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
