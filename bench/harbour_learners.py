"""Every method on the same judgements on Harbour: true taste of its answers, and KL from the initial model.

Run: python bench/harbour_learners.py FOLDER --seed 0 [sft dpo ppo ...] [--minutes 9]. Each method is the command and
recipe that a user would run, a process of its own, whose processor time and peak memory are noted; then its answers to
held-out prompts are measured. One row a method goes to FOLDER/results.jsonl, and what stands there is not done again.
`variants` stands for DPO and all its relatives, `methods` for those that docs/choosing.md compares.
"""

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steersman.batches import TokenRow, pad_rows
from steersman.cli.main import main as command_line
from steersman.harbour.prompts import prompts
from steersman.harbour.taste import features
from steersman.loading.engines import engine_of
from steersman.loading.saved import open_model
from steersman.loading.scorers import load_scorer
from steersman.maths.kl import full_kl
from steersman.maths.tokens import gather_before
from steersman.models.language_model import LanguageModel
from steersman.models.q_heads import Guide
from steersman.rollout.engine import Sampling, sample_seed
from steersman.rollout.stops import answer_text
from steersman.settings.score import ScorerSettings
from steersman.text.template import encode_prompt

# As the recipes sample.
SAMPLING = Sampling(max_new_tokens=48, temperature=1.0)
PROMPTS, ANSWERS, SEED = 240, 2, 11
# What only measures is left out.
UNMEASURED = ["data.held_out=none"]
DPO = ["dpo", "dpo-harbour", *UNMEASURED, "distance.prompts=0"]

# By name: the command, its recipe, and what it is told besides the recipe.
FROM_JUDGEMENTS: dict[str, list[str]] = {
    "preferred": ["sft", "sft-harbour", *UNMEASURED, "take_chosen=true", "train.epochs=1"],
    "dpo": DPO,
    "ilql": ["ilql", "ilql-harbour", *UNMEASURED],
    "cdpo": [*DPO, "label_smoothing=0.1"],
    "robust": [*DPO, "loss=robust", "label_smoothing=0.1"],
    "ipo": [*DPO, "loss=ipo"],
    "hinge": [*DPO, "loss=hinge"],
    "simpo": [*DPO, "loss=simpo", "beta=2"],
    "orpo": [*DPO, "loss=orpo"],
    "kto": [*DPO, "loss=kto"],
    "rpo": [*DPO, "likelihood=0.2"],
    "mean": [*DPO, "length=mean", "beta=1"],
    "desensitised": [*DPO, "length=desensitised"],
}
FROM_REWARD: dict[str, list[str]] = {
    "best-of-n": ["best-of-n", "best-of-n-harbour"],
    "rloo": ["rloo", "rloo-harbour", "evaluation.every=40"],
    "ppo": ["ppo", "ppo-harbour", "evaluation.every=40"],
    "online-dpo": ["online-dpo", "online-dpo-harbour", "train.evaluate_every=60"],
}
VARIANTS = ["dpo", *list(FROM_JUDGEMENTS)[3:]]
METHODS = ["sft", "preferred", "best-of-n", "dpo", "ilql", "rloo", "ppo", "online-dpo"]


def command_of(name: str, folder: Path, seed: int, judgements: int) -> list[str]:
    """The words of the command line, without the program."""
    judged = f"harbour:comparisons?count={judgements}&seed={seed}"
    if name == "sft":
        words = ["sft", "sft-harbour", "--data", f"harbour:demonstrations?count=1000&seed={seed}"]
    elif name == "reward":
        words = ["reward", "reward-harbour", "--model", str(folder / "sft"), "--data", judged]
    elif name in FROM_JUDGEMENTS:
        words = [*FROM_JUDGEMENTS[name], "--model", str(folder / "sft"), "--data", judged]
    else:
        words = [*FROM_REWARD[name], "--model", str(folder / "sft"), "--scorer", str(folder / "reward")]
    return words


def trained(words: Sequence[str], out: Path, seed: int, *, inside: bool) -> dict[str, Any]:
    """Run the command; what it cost. One that had finished before costs what was noted then."""
    noted = out.with_suffix(".cost.json")
    if noted.exists():
        return json.loads(noted.read_text())
    whole = [*words, "--out", str(out), "--seed", str(seed), "--json"]
    cost = ran_inside(whole) if inside else ran(whole, out.parent / f"{out.name}.log")
    noted.write_text(json.dumps(cost))
    return cost


def ran(words: Sequence[str], log: Path) -> dict[str, Any]:
    started, peak = time.perf_counter(), 0.0
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "steersman", *words], stdout=file, stderr=file)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # What the kernel tells at the end would begin with this process's own memory, which the other began as.
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.1)
    _, status, used = ended
    if status:
        raise SystemExit(f"steersman {' '.join(words)} ended with {status}:\n{log.read_text()[-3000:]}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(peak, 2),
    }


def peak_of(process: int) -> float:
    """The most that it has held since its program began, in GB."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def ran_inside(words: Sequence[str]) -> dict[str, Any]:
    """In this process: Python and torch are there already, and the peak of the memory is not the method's alone."""
    started, used, given = time.perf_counter(), time.process_time(), sys.argv
    sys.argv = ["steersman", *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            command_line()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.argv = given
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(time.process_time() - used, 1),
    }


def measured(model: LanguageModel, other: LanguageModel, reward: str) -> dict[str, float]:
    """What the model's answers to held-out prompts are worth, and their distance from the other model."""
    asked = list({prompt.shown: prompt for prompt in prompts(split="heldout", count=PROMPTS, seed=SEED)}.values())
    ids = [encode_prompt(model.tokeniser, prompt) for prompt in asked]
    seeds = [sample_seed(SEED, 0, prompt.id, place) for prompt in asked for place in range(ANSWERS)]
    rollouts = engine_of(model).generate(ids, SAMPLING, samples=ANSWERS, seeds=seeds)
    texts = [answer_text(model.tokeniser, rollout) for rollout in rollouts]
    given = [prompt for prompt in asked for _ in range(ANSWERS)]
    seen = [features(prompt.shown, text) for prompt, text in zip(given, texts, strict=True)]
    scores = load_scorer(ScorerSettings(path=reward), torch.device("cpu")).score(list(zip(given, texts, strict=True)))
    by_prompt = [statistics.fmean(f.taste for f in seen[i : i + ANSWERS]) for i in range(0, len(seen), ANSWERS)]

    def mean(values: Sequence[float | bool]) -> float:
        return round(statistics.fmean(values), 4)

    return {
        "prompts": len(asked),
        "taste": mean(by_prompt),
        "half_interval": round(1.96 * statistics.stdev(by_prompt) / len(by_prompt) ** 0.5, 4),
        "kl": mean(distances([rollout.row for rollout in rollouts], model, other)),
        "reward": mean([score.value for score in scores]),
        "on_point": mean([f.on_point for f in seen]),
        "toxic": mean([f.toxic for f in seen]),
        "exaggerated": mean([f.exaggerated for f in seen]),
        "garbled": mean([f.garbled for f in seen]),
        "words": mean([f.words for f in seen]),
    }


@torch.no_grad()
def distances(rows: Sequence[TokenRow], model: LanguageModel, other: LanguageModel) -> list[float]:
    """KL from the other model in nats per answer, exact at each token; Q heads are part of a model that has them."""
    found: list[float] = []
    for start in range(0, len(rows), 64):
        batch = pad_rows(rows[start : start + 64], pad_id=model.tokeniser.pad_token_id)
        hidden, there = (
            gather_before(each.backbone.hidden(batch, batch.needed_positions), batch.loss_mask)
            for each in (model, other)
        )
        logits = model.backbone.logits_of(hidden)
        if model.guide is not None:
            logits += model.guide.beta * model.guide.heads.min_target_q(hidden)
        nats = full_kl(logits, other.backbone.logits_of(there))
        owner = batch.loss_mask.nonzero()[:, 0]
        found += torch.zeros(len(batch.lengths)).index_add_(0, owner, nats).tolist()
    return found


def row_of(name: str, folder: Path, seed: int, judgements: int, *, inside: bool) -> dict[str, Any]:
    """Train by this method, unless it was done, and measure. `ilql@16` is ilql answering with beta 16."""
    run, _, beta = name.partition("@")
    for first in ("sft", "reward"):
        trained(command_of(first, folder, seed, judgements), folder / first, seed, inside=inside)
    words = command_of(run, folder, seed, judgements)
    cost = trained(words, folder / run, seed, inside=inside)
    model, other = (open_model(str(folder / each), device="cpu") for each in (run, "sft"))
    if beta and model.guide is not None:
        model = replace(model, guide=Guide(model.guide.heads, float(beta)))
    numbers = measured(model, other, str(folder / "reward"))
    told = " ".join(command_of(run, Path("runs"), seed, judgements))
    return {"name": name, "seed": seed, **numbers, **cost, "command": told}


def named(words: Sequence[str]) -> list[str]:
    groups = {"methods": METHODS, "variants": VARIANTS}
    return [name for word in words or ["methods"] for name in groups.get(word, [word])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "methods", nargs="*", help="names of methods, `methods` or `variants`; ilql@16 answers with beta 16"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judgements", type=int, default=4000)
    parser.add_argument(
        "--inside", action="store_true", help="train in this process: sooner, and memory is not measured"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further method after so long")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    folder = arguments.folder / f"seed-{arguments.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    results = arguments.folder / "results.jsonl"
    started = time.monotonic()
    for name in named(arguments.methods):
        lines = results.read_text().splitlines() if results.exists() else []
        there = {(row["seed"], row["name"]) for row in map(json.loads, lines)}
        if (arguments.seed, name) in there or time.monotonic() - started > 60 * arguments.minutes:
            continue
        row = row_of(name, folder, arguments.seed, arguments.judgements, inside=arguments.inside)
        print(json.dumps(row), flush=True)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
