"""Time to TRL's final reward: PPO on Harbour, ours and TRL 1.12's, with the same SFT model, reward model and prompts.

    python bench/harbour_time.py run FOLDER --seeds 0          # ours, and TRL at each of its three rates
    python bench/harbour_time.py run FOLDER --seeds 1 2 3 --rates 2e-4
    python bench/harbour_time.py table FOLDER

Each run is a process of its own with one thread; what is there is not done again. A curve is the reward model's mean of
an iteration's 64 answers, in means of eight iterations. TRL's final reward is the last of these at the best of its
rates; the time to it is that of the first which reaches it. Told are processor seconds since training began (start-up
and loading are outside on both sides), and seconds by the clock.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harbour_learners import command_of, trained
from steersman.assemble.ppo.run import open_ppo
from steersman.harbour.prompts import prompts
from steersman.harbour.taste import true_taste
from steersman.loading.saved import open_model
from steersman.methods.ppo.loop import ppo
from steersman.reward.scorer import Scorer
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.text.template import encode_prompt
from steersman.watch.records import WatchedAnswer, WatchMemory, WatchReport

HERE = Path(__file__).resolve().parent
PEER = HERE.parent / ".bench" / "trl-1.12" / "bin" / "python"
ITERATIONS, ANSWERS, MEAN_OF = 40, 64, 8
RATES = ("1e-4", "2e-4", "4e-4")
RECIPE = "recipe"
WAYS = {"": (), "adapters": ("layout=adapters", "model.lora.rank=16"), "bf16": ("compute.precision=bf16",)}
JUDGEMENTS = 4000


@dataclass
class Clock:
    """In the watch's place: what the scorer thinks of each iteration's answers, and the time that had passed."""

    began: float = field(default_factory=time.perf_counter)
    used: float = field(default_factory=time.process_time)
    rows: list[dict[str, float]] = field(default_factory=list)
    restores: bool = False

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport:
        score, kl = (statistics.fmean(values) for values in zip(*((a.score, a.kl) for a in answers), strict=True))
        passed = {"seconds": time.perf_counter() - self.began, "processor": time.process_time() - self.used}
        taste = statistics.fmean(true_taste(answer.prompt.shown, answer.text) for answer in answers)
        self.rows.append({"score": score, "kl": kl, "taste": taste, **passed})
        return WatchReport({}, [], [], False)

    def paying(self, scorer: Scorer, memory: WatchMemory) -> Scorer:
        return scorer

    def raised(self, coefficient: float) -> float:
        return coefficient


def ours(folder: Path, seed: int, rate: str) -> list[dict[str, float]]:
    way, _, rate = rate.rpartition(":")
    out = folder / f"ours-{way}-{rate}"
    shutil.rmtree(out, ignore_errors=True)
    words = [
        *(f"model.path={folder / 'sft'}", f"scorer.path={folder / 'reward'}", f"run.out={out}", f"run.seed={seed}"),
        *([] if rate == RECIPE else [f"optimiser.learning_rate={rate}"]),
        *WAYS[way],
        *(f"iterations={ITERATIONS}", f"prompts_per_iteration={ANSWERS}", "prompts.held_out=none", "samples_kept=0"),
        *(f"prompts.source=harbour:prompts?count={ITERATIONS * ANSWERS}&seed={seed}", "score.missing_eos_penalty=none"),
    ]
    with open_ppo(load_settings(PpoSettings, "ppo-harbour", words)) as run:
        clock = Clock()
        ppo(replace(run.parts, watch=clock), run.settings, run.memory)
    shutil.rmtree(out)
    return clock.rows


def theirs(folder: Path, seed: int, rate: str) -> list[dict[str, float]]:
    tokeniser = open_model(str(folder / "sft"), device="cpu").tokeniser
    asked = prompts(count=ITERATIONS * ANSWERS, seed=seed)
    lines = [json.dumps({"input_ids": encode_prompt(tokeniser, prompt)}) for prompt in asked]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    words = [PEER, HERE / "peers" / "trl_harbour.py", folder / "rows.jsonl", "--policy", folder / "sft" / "model"]
    words += ["--reward", folder / "reward" / "model", "--out", folder / "trl", "--rate", rate, "--seed", seed]
    words += ["--answers", ANSWERS, "--iterations", ITERATIONS]
    ran = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"TRL ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    return [json.loads(line[5:]) for line in ran.stdout.splitlines() if line.startswith("TURN ")]


def means(rows: Sequence[dict[str, float]]) -> list[float]:
    scores = [row["score"] for row in rows]
    return [statistics.fmean(scores[max(0, i + 1 - MEAN_OF) : i + 1]) for i in range(len(scores))]


def reached(rows: Sequence[dict[str, float]], reward: float) -> dict[str, float] | None:
    """The first iteration whose mean of so many is that high; none before there are so many."""
    return next((row for row, mean in list(zip(rows, means(rows), strict=True))[MEAN_OF - 1 :] if mean >= reward), None)


def table(folder: Path) -> None:
    runs = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    found: dict[str, list[float]] = {}
    for seed in sorted({run["seed"] for run in runs}):
        sides = {
            side: {run["rate"]: run["rows"] for run in runs if run["seed"] == seed and run["side"] == side}
            for side in ("trl", "ours")
        }
        final = {rate: means(rows)[-1] for rate, rows in sides["trl"].items()}
        best = max(final, key=lambda rate: final[rate])
        there = reached(sides["trl"][best], final[best])
        assert there is not None
        ends = ", ".join(f"{value:.3f} ({rate})" for rate, value in final.items())
        print(
            f"seed {seed}: TRL ends at {ends}, KL {ending_kl(sides['trl'][best]):.1f}; there after "
            f"{there['processor']:.0f} s"
        )
        for rate, rows in sides["ours"].items():
            end, seconds = means(rows)[-1], rows[-1]["processor"]
            told = f"    ours ({rate}) ends at {end:.3f} after {seconds:.0f} s, KL {ending_kl(rows):.1f}; "
            here = reached(rows, final[best])
            if here is None:
                print(told + "does not reach TRL's")
                continue
            found.setdefault(rate, []).append(here["processor"] / there["processor"])
            told += f"TRL's after {here['processor']:.1f} s, KL {here['kl']:.1f}: {found[rate][-1]:.2f}"
            print(told + f" (by the clock {here['seconds'] / there['seconds']:.2f})")
    for rate, ratios in found.items():
        print(f"{rate}: median of the {len(ratios)} seeds that reach it {statistics.median(ratios):.2f}")


def ending_kl(rows: Sequence[dict[str, float]]) -> float:
    return statistics.fmean(row["kl"] for row in rows[-MEAN_OF:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--rates", nargs="*", default=list(RATES), help="TRL's")
    parser.add_argument(
        "--ours",
        nargs="*",
        default=[RECIPE],
        help=f"ours; {RECIPE!r} is what ppo-harbour says; adapters:2e-3 learns LoRA, bf16:4e-4 in bf16",
    )
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.folder)
        return
    results = arguments.folder / "results.jsonl"
    for seed in arguments.seeds:
        folder = arguments.folder / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        for first in ("sft", "reward"):
            trained(command_of(first, folder, seed, JUDGEMENTS), folder / first, seed, inside=False)
        for side, rate in (*(("ours", rate) for rate in arguments.ours), *(("trl", rate) for rate in arguments.rates)):
            done = results.read_text().splitlines() if results.exists() else []
            if any((run["seed"], run["side"], run["rate"]) == (seed, side, rate) for run in map(json.loads, done)):
                continue
            rows = ours(folder, seed, rate) if side == "ours" else theirs(folder, seed, rate)
            with results.open("a") as file:
                file.write(json.dumps({"seed": seed, "side": side, "rate": rate, "rows": rows}) + "\n")
            print(seed, side, rate, f"{means(rows)[-1]:.3f} after {rows[-1]['processor']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
