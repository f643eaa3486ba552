"""Do PPO's fast paths change what it learns? Learning curves on Harbour by default and with each fast path off.

    python bench/harbour_fast_paths.py --out FOLDER            # one JSON line per run in FOLDER/results.jsonl; resumes
    python bench/harbour_fast_paths.py --out FOLDER --table    # the comparison, paired by seed
    python bench/harbour_fast_paths.py --out FOLDER --plot docs/figures/fast-paths.svg

The runs of a seed share prompts, the seed of each answer, the fine-tuned model and the reward model, so what differs is
a fast path's rounding and what grows from it. Two measure that: `micro-batches` is as shipped with sums in another
order, and `rate` learns a thousandth faster, which is to be seen. That a switch took effect is counted in each run.
`--iterations 2 --answers 8 --judgements 64 --seeds 0` tries it all in a minute.
"""

import argparse
import fcntl
import json
import shutil
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from fast_paths_told import draw, tables
from steersman.assemble.ppo.run import open_ppo
from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.execution.machine import begun_with
from steersman.harbour.taste import features
from steersman.loading import engines
from steersman.methods.ppo import forward
from steersman.methods.ppo.loop import Iteration, iterate
from steersman.models import fused, loading, reward_model, trials
from steersman.models.backbone import Backbone
from steersman.rollout.fused import FusedDecoder
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

LEARNING_RATE = 4e-4
"""Twice the recipe's, since there are a third of its answers and iterations: flat curves would agree in any case."""
COUNTED = {
    "layers": "layers computed as one step",
    "engine": "steps of the fused decoder",
    "reading": "times that what the engine knew was reused",
    "rows": "passes without padding",
    "kernels": "passes under oneDNN's kernels",
}
OFF: dict[str, tuple[str, ...]] = {
    "shipped": (),
    "micro-batches": (),
    "layers": ("layers",),
    # Only the fused decoder computes values, without which all models run over all samples.
    "engine": ("engine", "reading"),
    "reading": ("reading",),
    # A layer computes as one step over rows that lie one after another.
    "rows": ("rows", "layers"),
    "kernels": (),
    "all": ("layers", "engine", "reading", "rows"),
    "rate": (),
}
"""What is switched off with each variant.

`kernels` are those which the machine did not choose; `all` has torch's own. Two have nothing off.
"""
A_LITTLE = 1.001


def without_fast_paths(*given: Any, options: DecodingOptions, **more: Any) -> NativeEngine:
    return NativeEngine(*given, options=replace(options, path="cached"), **more)


@contextmanager
def switched(variant: str) -> Iterator[dict[str, int]]:
    """The fast paths of a variant off inside the block; how often each was used.

    Nothing else in the product changes.
    """
    off, counts = OFF[variant], dict.fromkeys(COUNTED, 0)
    with ExitStack() as stack:

        def put(place: Any, name: str, what: Any) -> None:
            stack.enter_context(patch.object(place, name, what))

        if "layers" in off:
            put(trials, "fuse", lambda trunk: 0)
        if "engine" in off:
            put(engines, "NativeEngine", without_fast_paths)
        if "reading" in off:
            put(forward, "_engine_may_know", lambda *given: False)
        if "rows" in off:
            put(loading, "find_unpadded", lambda backbone: 0)
            put(reward_model, "find_unpadded", lambda backbone: 0)
        for name, place, attribute in (
            ("layers", fused, "layer"),
            ("engine", FusedDecoder, "step"),
            ("reading", forward, "_rest_from_models"),
            ("rows", Backbone, "_hidden_unpadded"),
            ("kernels", Backbone, "hidden"),
        ):
            put(place, attribute, counting(getattr(place, attribute), counts, name))
        yield counts


def counting(called: Callable[..., Any], counts: dict[str, int], name: str) -> Callable[..., Any]:
    settings: Any = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]

    def wrapped(*given: Any, **named: Any) -> Any:
        counts[name] += name != "kernels" or settings.fp32_precision == "bf16"
        return called(*given, **named)

    return wrapped


def make_sure(variant: str, counts: dict[str, int], kernels: str) -> None:
    """Fail loudly if a path that is off was used, or one that is on was not."""
    on = {name: name not in OFF[variant] for name in COUNTED} | {"kernels": kernels == "onednn"}
    wrong = [
        f"{COUNTED[name]}: {counts[name]}, expected {'some' if on[name] else 'none'}"
        for name in COUNTED
        if (counts[name] > 0) != on[name]
    ]
    if wrong:
        sys.exit(f"the switches of {variant} did not take effect: {'; '.join(wrong)}; see switched() in {__file__}")


def prepare(out: Path, judgements: int) -> tuple[Path, Path]:
    """The fine-tuned model and the reward model, as shipped; all runs share them."""
    sft, reward = out / "sft", out / "reward"
    with (out / "prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (sft / "model").exists():
            run_sft(load_settings(SftSettings, "sft-harbour", [f"run.out={sft}", "run.device=cpu"]), quiet=True)
        if not (reward / "model").exists():
            source = f"data.source=harbour:comparisons?count={judgements}"
            words = [f"model.path={sft}", f"run.out={reward}", source, "data.held_out=none", "run.device=cpu"]
            run_reward(load_settings(RewardSettings, "reward-harbour", words), quiet=True)
    return sft, reward


def settings_of(arguments: argparse.Namespace, seed: int, variant: str, kernels: str, folder: Path) -> PpoSettings:
    sft, reward = prepare(arguments.out, arguments.judgements)
    iterations, answers = arguments.iterations, arguments.answers
    rate = LEARNING_RATE * (A_LITTLE if variant == "rate" else 1.0)
    words = [
        *(f"model.path={sft}", f"scorer.path={reward}", f"run.out={folder}", f"run.seed={seed}"),
        *("run.device=cpu", "run.threads=1", "run.checkpoint_every=1000", "watch.action=off", "samples_kept=0"),
        *(f"iterations={iterations}", f"prompts_per_iteration={answers}", "prompts.held_out=none"),
        f"prompts.source=harbour:prompts?count={iterations * answers}&seed={seed}",
        *(f"optimiser.learning_rate={rate}", f"compute.kernels={kernels}"),
        *(["compute.tokens_per_micro_batch=700"] if variant == "micro-batches" else []),
    ]
    return load_settings(PpoSettings, "ppo-harbour", words)


def chosen_kernels(arguments: argparse.Namespace, seed: int) -> str:
    """What this machine takes for Harbour's model if it is left to choose."""
    folder = arguments.out / "machine"
    shutil.rmtree(folder, ignore_errors=True)
    with open_ppo(settings_of(arguments, seed, "shipped", "auto", folder)):
        chosen = begun_with(folder).kernels
    shutil.rmtree(folder)
    assert chosen is not None, "a run on a processor states its kernels"
    return chosen


def measure(arguments: argparse.Namespace, seed: int, variant: str, machine: str) -> dict[str, Any]:
    """One whole run."""
    other = {"default": "onednn", "onednn": "default"}[machine]
    kernels = {"kernels": other, "all": "default"}.get(variant, machine)
    folder: Path = arguments.out / f"{variant}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    settings = settings_of(arguments, seed, variant, kernels, folder)
    with switched(variant) as counts, open_ppo(settings) as run:
        for _ in range(settings.iterations):
            began = time.process_time()
            done = iterate(run.parts, run.settings, run.memory)
            rows.append({**seen(done), "processor": round(time.process_time() - began, 3)})
            if run.run.folder.stop_requested():
                sys.exit(f"stopped in the middle of {folder.name}; the same command does that run again, and goes on")
    make_sure(variant, counts, kernels)
    shutil.rmtree(folder)
    return {"variant": variant, "seed": seed, "kernels": kernels, "used": counts, "rows": rows}


def seen(done: Iteration) -> dict[str, Any]:
    """The compared numbers of an iteration, unrounded, and a hash of each answer's ids, to find identical answers."""
    samples = [one.scored.sample for one in done.experience]
    return {
        "score": done.row["raw score"],
        "taste": statistics.fmean(features(one.prompt.shown, one.text).taste for one in samples),
        "KL": done.row["KL to reference"],
        "entropy": done.row["entropy"],
        "gradient": done.row["gradient norm"],
        "answers": [zlib.crc32(repr(one.rollout.ids).encode()) for one in samples],
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_all(arguments: argparse.Namespace, kept: Path) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, longest = time.time(), 0.0
    machine = chosen_kernels(arguments, arguments.seeds[0])
    for seed in arguments.seeds:
        for variant in arguments.variants:
            done = any((row["seed"], row["variant"]) == (seed, variant) for row in rows_of(kept))
            if done or time.time() - began + longest > 60 * arguments.minutes:
                continue
            here = time.time()
            row = measure(arguments, seed, variant, machine)
            with kept.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            longest = max(longest, time.time() - here)
            brief = {"seconds": round(time.time() - here, 1), "score": round(row["rows"][-1]["score"], 3)}
            print(json.dumps({"variant": variant, "seed": seed, **brief, "used": row["used"]}), flush=True)


def whole(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{number} is too few; expected 2 or more")
    return number


def known_runs(kept: Path, variants: Sequence[str]) -> list[dict[str, Any]]:
    rows = [row for row in rows_of(kept) if row["variant"] in variants]
    if not any(row["variant"] == "shipped" for row in rows):
        sys.exit(f"{kept} holds no run as shipped to compare with; run it without --table and --plot first")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--variants", nargs="+", default=list(OFF), choices=list(OFF))
    parser.add_argument("--iterations", type=whole, default=14)
    parser.add_argument("--answers", type=whole, default=64, help="an iteration")
    parser.add_argument("--judgements", type=whole, default=2000, help="that the reward model learns from")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run that would end later")
    parser.add_argument("--table", action="store_true", help="only print the comparison")
    parser.add_argument("--plot", type=Path, help="only draw the curves into this file")
    arguments = parser.parse_args()
    kept = arguments.out / "results.jsonl"
    if arguments.table:
        print(tables(known_runs(kept, arguments.variants)))
    elif arguments.plot:
        arguments.plot.write_text(draw(known_runs(kept, arguments.variants)))
    else:
        run_all(arguments, kept)


if __name__ == "__main__":
    main()
