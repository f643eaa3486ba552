"""How often the watch fires on Harbour: in careless runs before a quarter of the peak gain is lost, and in healthy
runs.

    python bench/harbour_watch.py run careless 0 1 2 --out FOLDER     # appends to FOLDER/runs-careless.jsonl
    python bench/harbour_watch.py run healthy 0 1 2 --out FOLDER
    python bench/harbour_watch.py quantiles --out FOLDER --seeds 0 9  # what each detector measured, for choosing limits
    python bench/harbour_watch.py rates --out FOLDER --seeds 10 29    # firing rates by the careless recipe's limits
    python bench/harbour_watch.py cost --out FOLDER                   # processor time with and without the watch

All seeds share one fine-tuned model. Four neighbouring seeds (0 to 3, 4 to 7, …) share judgements and reward models;
each has prompts and a PPO of its own. Runs only warn and are not cut short, so that other limits can be tried on what
they measured without running them again.
"""

import argparse
import fcntl
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steersman.assemble.ppo.run import open_ppo
from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.harbour.taste import features
from steersman.maths.statistics import wilson_interval
from steersman.methods.ppo.loop import ppo
from steersman.methods.ppo.watched import Watch
from steersman.reward.scorer import Scorer
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings
from steersman.settings.watch import WatchSettings
from steersman.watch.records import WatchedAnswer, WatchMemory, WatchReport
from steersman.watch.watching import DETECTORS, looks_needed

FOND = 4
OTHERS = 1000
"""Added to a seed for the judgements of the held-out scorer."""
AROUND = 2
"""The true taste is smoothed over so many iterations on each side."""
SIZES = {"careless": ("harbour-careless", 40, 128), "healthy": ("ppo-harbour", 26, 128)}
"""The recipe, iterations and answers an iteration."""


def fine_tuned(out: Path) -> Path:
    folder = out / "sft"
    if not (folder / "model").exists():
        run_sft(load_settings(SftSettings, "sft-harbour", [f"run.out={folder}"]), quiet=True)
    return folder


def reward_model(out: Path, name: str, source: str, seed: int) -> Path:
    folder = out / name
    with (out / f"{name}.lock").open("w") as lock:
        # Several of these may run at once, and careless and healthy runs share the held-out scorer.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "model").exists():
            words = [f"model.path={fine_tuned(out)}", f"data.source={source}", "data.held_out=none", f"run.seed={seed}"]
            run_reward(load_settings(RewardSettings, "reward-harbour", [*words, f"run.out={folder}"]), quiet=True)
            shutil.rmtree(folder / "checkpoints")
    return folder


def scorers(out: Path, kind: str, seed: int) -> tuple[Path, Path]:
    """What is learned from, and what is held out: of other judgements, by sober people."""
    pair = seed // 4
    count = f"count=1000&fondness={FOND}" if kind == "careless" else "count=2000"
    proxy = reward_model(out, f"{kind}-reward-{pair}", f"harbour:comparisons?{count}&seed={pair}", pair)
    held_out = f"harbour:comparisons?count=1000&fondness=0&seed={OTHERS + pair}"
    return proxy, reward_model(out, f"held-out-{pair}", held_out, OTHERS + pair)


def measure(out: Path, kind: str, seed: int, more: Sequence[str] = ()) -> dict[str, Any]:
    """One whole run, and what was true at each of its iterations."""
    proxy, held_out = scorers(out, kind, seed)
    recipe, iterations, prompts = SIZES[kind]
    asked = careless_watch()
    folder = out / f"{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    words = [
        *(f"model.path={fine_tuned(out)}", f"scorer.path={proxy}", f"run.out={folder}", f"run.seed={seed}"),
        *(f"iterations={iterations}", f"prompts_per_iteration={prompts}", "samples_kept=0", "prompts.held_out=none"),
        *(f"prompts.source=harbour:prompts?count={iterations * prompts}&seed={seed}", "watch.action=warn"),
        *(f"watch.held_out_scorer.path={held_out}", f"watch.held_out_every={asked.held_out_every}"),
        *(f"watch.held_out_answers={asked.held_out_answers}", *more),
    ]
    began, processor = time.time(), time.process_time()
    with open_ppo(load_settings(PpoSettings, recipe, words)) as run:
        assert run.parts.watch is not None
        truth = Truth(run.parts.watch)
        outcome = ppo(replace(run.parts, watch=truth), run.settings, run.memory)
    if outcome.ending == "stopped":
        raise SystemExit(f"stopped at iteration {outcome.iteration} of {kind} seed {seed}: no row was kept")
    journal = [row for row in read_rows(folder / "journal.jsonl")[0] if "score" in row]
    rows = [
        {
            "step": row["step"],
            "score": row["raw score"],
            "KL": row["KL to reference"],
            **{name: value for name, value in row.items() if name.startswith(("watch ", "seconds"))},
            **true,
        }
        for row, true in zip(journal, truth.found, strict=True)
    ]
    shutil.rmtree(folder)
    return {
        "kind": kind,
        "seed": seed,
        "seconds": time.time() - began,
        "processor": time.process_time() - processor,
        "rows": [{name: round(value, 5) for name, value in row.items()} for row in rows],
    }


@dataclass
class Truth:
    """The run's own watch; beside it, what the answers that it is shown are really worth."""

    watch: Watch
    found: list[dict[str, float]] = field(default_factory=list)

    @property
    def restores(self) -> bool:
        return self.watch.restores

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport:
        seen = [features(one.prompt.shown, one.text) for one in answers]
        names = ("taste", "exaggerated", "toxic", "garbled", "on_point")
        self.found.append({name: statistics.fmean(float(getattr(one, name)) for one in seen) for name in names})
        return self.watch.look(answers, memory, iteration=iteration)

    def paying(self, scorer: Scorer, memory: WatchMemory) -> Scorer:
        return self.watch.paying(scorer, memory)

    def raised(self, coefficient: float) -> float:
        return self.watch.raised(coefficient)


def smooth(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values[max(0, i - AROUND) : i + AROUND + 1]) for i in range(len(values))]


def first_finding(
    rows: Sequence[Mapping[str, float]], limits: Mapping[str, float | None], patience: int
) -> tuple[int, str] | None:
    """The iteration in which the first detector had been outside its limit for long enough, and which."""
    strikes: dict[str, int] = {}
    for row in rows:
        for one in DETECTORS:
            limit, value = limits.get(one.name), row.get(f"watch {one.name}")
            if limit is None or value is None:
                continue
            strikes[one.name] = strikes.get(one.name, 0) + 1 if one.outside(value, limit) else 0
            if strikes[one.name] >= looks_needed(one.name, patience):
                return int(row["step"]), one.name
    return None


def story(run: Mapping[str, Any], start: float) -> dict[str, Any]:
    """The iterations of the peak of true taste, and of the loss of a quarter of that gain: first time, and for good.

    They differ because the mean of few answers is noisy.
    """
    tastes = smooth([row["taste"] for row in run["rows"]])
    peak = max(range(len(tastes)), key=lambda i: tastes[i])
    gain = tastes[peak] - start
    below = [tastes[i] < tastes[peak] - gain / 4 for i in range(peak, len(tastes))]
    first = peak + below.index(True) if any(below) else None
    lost = peak + len(below) - below[::-1].index(False) if below[-1] else None
    return {
        "peak": peak + 1,
        "gain": gain,
        "first lost": None if first is None else first + 1,
        "lost": None if lost is None else lost + 1,
        "end": tastes[-1] - start,
        "tastes": tastes,
    }


def kept_by_restoring(run: Mapping[str, Any], fired: int, start: float) -> float:
    """The share of the peak gain in the weights that the watch would restore (best held-out gain until it fired)."""
    before = [row for row in run["rows"] if row["step"] <= fired and "watch held-out gain" in row]
    best = max(before, key=lambda row: row["watch held-out gain"])
    found = story(run, start)
    return (found["tastes"][int(best["step"]) - 1] - start) / found["gain"]


def load(out: Path, seeds: Sequence[int]) -> tuple[list[dict[str, Any]], float]:
    """The runs of these seeds, and the SFT model's taste: that of all runs' first answers, before any update."""
    runs = [json.loads(line) for path in sorted(out.glob("runs-*.jsonl")) for line in path.read_text().splitlines()]
    start = statistics.fmean(run["rows"][0]["taste"] for run in runs)
    return [run for run in runs if seeds[0] <= run["seed"] <= seeds[1]], start


def careless_watch() -> WatchSettings:
    """That of the careless recipe, which both kinds of runs are held to."""
    return load_settings(PpoSettings, "harbour-careless", []).watch


def say(**numbers: object) -> None:
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}), flush=True)


def quantiles(out: Path, seeds: Sequence[int]) -> None:
    runs, start = load(out, seeds)
    for kind in SIZES:
        mine = [run for run in runs if run["kind"] == kind]
        for run in mine:
            found = story(run, start)
            say(kind=kind, seed=run["seed"], **{k: v for k, v in found.items() if k != "tastes"})
        for one in DETECTORS:
            sign = 1 if one.side == "above" else -1
            worst, at_loss = [], []
            for run in mine:
                lost = story(run, start)["lost"] or len(run["rows"])
                values = [(row["step"], row[f"watch {one.name}"]) for row in run["rows"] if f"watch {one.name}" in row]
                # The worst value that came twice in a row is what a patience of two has to live with.
                pairs = [(b[0], sign * min(sign * a[1], sign * b[1])) for a, b in itertools.pairwise(values)]
                if pairs:
                    worst.append(sign * max(sign * v for _, v in pairs))
                    at_loss.append(sign * max((sign * v for s, v in pairs if s <= lost), default=-1e9 * sign))
            say(kind=kind, detector=one.name, worst=sorted(worst), until_a_quarter_is_lost=sorted(at_loss))


def rates(out: Path, seeds: Sequence[int], limits: Mapping[str, float | None], patience: int) -> None:
    runs, start = load(out, seeds)
    for kind in SIZES:
        mine = [run for run in runs if run["kind"] == kind]
        fired: list[int] = []
        lost_runs, in_time, kept = 0, 0, []
        for run in mine:
            found, first = story(run, start), first_finding(run["rows"], limits, patience)
            lost = found["lost"]
            fired += [run["seed"]] if first else []
            lost_runs += lost is not None
            good = first is not None and (lost is None or first[0] <= lost)
            in_time += good
            kept += [kept_by_restoring(run, first[0], start)] if first else []
            say(
                kind=kind,
                seed=run["seed"],
                fired=first,
                **{k: v for k, v in found.items() if k != "tastes"},
                in_time=good,
            )
        if not mine:
            continue
        hits = in_time if kind == "careless" else len(fired)
        interval = wilson_interval(hits, len(mine), confidence=0.95)
        say(
            what=f"{kind}: fires" + (" in time" if kind == "careless" else ""),
            runs=len(mine),
            hits=hits,
            rate=interval.estimate,
            low=interval.low,
            high=interval.high,
            lost_a_quarter=lost_runs,
            gain_kept_by_restoring=statistics.fmean(kept) if kept else None,
            least_kept=min(kept) if kept else None,
            exaggerated_first=statistics.fmean(run["rows"][0]["exaggerated"] for run in mine),
            exaggerated_last=statistics.fmean(run["rows"][-1]["exaggerated"] for run in mine),
            score_gain_deviations=statistics.fmean(
                [row["watch gain"] for row in run["rows"] if "watch gain" in row][-1] for run in mine
            ),
        )


def cost(out: Path) -> None:
    """Processor seconds of the careless recipe's first iterations with its watch and without, in turn.

    Nothing fires so early.
    """
    proxy, held_out = scorers(out, "careless", 0)
    folder = out / "cost"
    common = [
        *(
            f"model.path={fine_tuned(out)}",
            f"scorer.path={proxy}",
            f"run.out={folder}",
            "iterations=12",
            "samples_kept=0",
        ),
        *("prompts.source=harbour:prompts?count=768", "prompts.held_out=none", "run.checkpoint_every=100"),
    ]
    watched = [f"watch.held_out_scorer.path={held_out}", *(f"watch.limits.{one.name}=none" for one in DETECTORS[1:])]
    watched += ["watch.limits.gap=100"]
    unwatched = load_settings(PpoSettings, "harbour-careless", [*common, *watched]).model_copy(
        update={"watch": WatchSettings(action="off")}
    )
    for turn in range(3):
        for name, settings in (
            ("without", unwatched),
            ("with", load_settings(PpoSettings, "harbour-careless", [*common, *watched])),
        ):
            shutil.rmtree(folder, ignore_errors=True)
            began = time.process_time()
            with open_ppo(settings) as run:
                opened = time.process_time()
                ppo(run.parts, run.settings, run.memory)
            rows = [row for row in read_rows(folder / "journal.jsonl")[0] if "score" in row]
            say(
                what=f"{name} the watch",
                turn=turn,
                opening=opened - began,
                processor_seconds=time.process_time() - opened,
                seconds_of_the_watch=sum(row["seconds to watch"] for row in rows),
                seconds_of_all=sum(v for row in rows for k, v in row.items() if k.startswith("seconds to")),
            )
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "quantiles", "rates", "cost"])
    parser.add_argument("kind", nargs="?", choices=list(SIZES))
    parser.add_argument("numbers", nargs="*", type=int, help="seeds to run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 29], help="first and last")
    parser.add_argument("--patience", type=int, default=WatchSettings().patience)
    parser.add_argument("--limits", nargs="*", default=[], help="instead of the recipe's, such as kl=6")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run that would end later")
    parser.add_argument("--more", nargs="*", default=[], help="other settings of the runs")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    limits = {
        **careless_watch().limits.model_dump(),
        **{k: float(v) for k, v in (one.split("=") for one in arguments.limits)},
    }
    if arguments.what == "run":
        path = arguments.out / f"runs-{arguments.kind}.jsonl"
        began, longest = time.time(), 0.0
        for seed in arguments.numbers:
            if time.time() - began + longest > 60 * arguments.minutes:
                break
            here = time.time()
            done = path.read_text().splitlines() if path.exists() else []
            if any((run["kind"], run["seed"]) == (arguments.kind, seed) for run in map(json.loads, done)):
                continue
            line = json.dumps(measure(arguments.out, arguments.kind, seed, arguments.more))
            with path.open("a") as file:
                file.write(line + "\n")
            longest = max(longest, time.time() - here)
    elif arguments.what == "quantiles":
        quantiles(arguments.out, arguments.seeds)
    elif arguments.what == "rates":
        rates(arguments.out, arguments.seeds, limits, arguments.patience)
    else:
        cost(arguments.out)


if __name__ == "__main__":
    main()
