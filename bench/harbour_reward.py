"""How good reward models on Harbour are by the number of judgements, and where the members of an ensemble disagree.

`python bench/harbour_reward.py [sizes] [disagreement]`, through the same calls as the command line; one JSON line a
result.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch

from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.execution.ending import RunResult
from steersman.harbour.registry import answers
from steersman.harbour.taste import features
from steersman.loading.scorers import load_scorer
from steersman.settings.base import check, load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings
from steersman.settings.sft import SftSettings

HELD_OUT = "harbour:comparisons/heldout?count=2000&seed=100&ties=false"


def say(name: str, **numbers: object) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in numbers.items()}
    print(json.dumps({"what": name, **rounded, "load": round(os.getloadavg()[0], 1)}), flush=True)


def fine_tuned(folder: Path, threads: int) -> str:
    words = [
        "model.path=harbour:base",
        "data.source=harbour:demonstrations?count=1000&seed=7",
        f"run.out={folder}",
    ]
    words += ["optimiser.learning_rate=4e-4", "optimiser.schedule=linear", f"run.threads={threads}", "run.device=cpu"]
    return run_sft(load_settings(SftSettings, None, words), quiet=True).out


def reward_model(
    start: str, folder: Path, *, judgements: int, seed: int, threads: int, more: tuple[str, ...]
) -> RunResult:
    source = f"harbour:comparisons?count={judgements}&seed={seed}&ties=false"
    words = [f"model.path={start}", f"data.source={source}", f"data.held_out={HELD_OUT}", f"run.out={folder}"]
    words += ["train.epochs=2", "train.keep=last", "train.evaluate_every=100000", "optimiser.schedule=linear"]
    words += ["optimiser.learning_rate=6e-4", "optimiser.weight_decay=0.01", "optimiser.warmup=10", "run.device=cpu"]
    words += [f"run.seed={seed}", f"run.threads={threads}", *more]
    return run_reward(load_settings(RewardSettings, None, words), quiet=True)


def measure_sizes(start: str, folder: Path, arguments: argparse.Namespace) -> None:
    for size in arguments.sizes:
        found: list[dict] = []
        started = time.time()
        for seed in range(arguments.seeds):
            result = reward_model(
                start, folder / f"{size}-{seed}", judgements=size, seed=seed, threads=arguments.threads, more=()
            )
            found.append(json.loads((Path(result.out) / "quality.json").read_text()))
        accuracy = [quality["accuracy"]["estimate"] for quality in found]
        after = [quality["calibration"]["after"]["error"] for quality in found]
        say(
            "accuracy against noisy labels",
            judgements=size,
            seeds=arguments.seeds,
            accuracy=statistics.mean(accuracy),
            lowest=min(accuracy),
            highest=max(accuracy),
            ece=statistics.mean(quality["calibration"]["whole"]["error"] for quality in found),
            temperature=statistics.mean(quality["calibration"]["temperature"] for quality in found),
            ece_after=statistics.mean(after),
            ece_after_highest=max(after),
            seconds=(time.time() - started) / arguments.seeds,
        )


def shuffled(text: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


def measure_disagreement(start: str, folder: Path, arguments: argparse.Namespace) -> None:
    """The standard deviation over three members on held-out answers of three kinds.

    `shuffled` are ordinary answers with shuffled words.
    """
    rng = random.Random(0)
    rows = [(row.prompt, answer.text) for row in answers(split="heldout") for answer in row.completions]
    seen = [features(prompt.shown, text) for prompt, text in rows]
    ordinary = [row for row, f in zip(rows, seen, strict=True) if not (f.garbled or f.exaggerated or f.toxic)]
    kinds = {
        "ordinary": ordinary,
        "exaggerated": [row for row, f in zip(rows, seen, strict=True) if f.exaggerated],
        "garbled": [row for row, f in zip(rows, seen, strict=True) if f.garbled],
        "shuffled": [(prompt, shuffled(text, rng)) for prompt, text in ordinary],
    }
    for name, more in (("full", ()), ("LoRA", ("model.lora.rank=16", "optimiser.learning_rate=2e-3"))):
        out = folder / f"ensemble-{name}"
        reward_model(start, out, judgements=600, seed=0, threads=arguments.threads, more=("members=3", *more))
        scorer = load_scorer(check(ScorerSettings, {"path": str(out)}), torch.device("cpu"))
        for kind, items in kinds.items():
            scores = scorer.score(items)
            say(
                f"disagreement of three members, {name}",
                kind=kind,
                answers=len(items),
                std=statistics.mean(score.parts["std"] for score in scores),
                mean_score=statistics.mean(score.value for score in scores),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="sizes, disagreement; both if none is named")
    parser.add_argument("--start", default=None, help="the model to begin with; the base, fine-tuned, if not given")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 4000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        start = arguments.start or fine_tuned(Path(scratch) / "sft", arguments.threads)
        parts = arguments.parts or ["sizes", "disagreement"]
        if "sizes" in parts:
            measure_sizes(start, Path(scratch), arguments)
        if "disagreement" in parts:
            measure_disagreement(start, Path(scratch), arguments)


if __name__ == "__main__":
    main()
