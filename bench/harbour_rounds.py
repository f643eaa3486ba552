"""Three rounds of feedback on Harbour by the shipped recipe, and what labels on the current policy's answers are worth.

Run: python bench/harbour_rounds.py [--seeds 0 1 2 3] [--rounds 3] [--part rounds] [--out FOLDER] [--table]
     [STAGE.SETTING=VALUE …]

One seed is `--seeds 0`: about seven minutes of one core, of which the three rounds take five (`--part rounds`) and the
comparison of labels two (`--part labels`, which begins with the first two rounds where they are missing).

Prints a JSON line a round: the true taste of the base model, of SFT, of the last and of the new policy, what was
decided and why, and the processor time of its stages. Then round 2 once more with as many labels, all of them on SFT's
answers: round 1 is the same, and the second policy differs by its labels alone. The same call goes on after a stop.
"""

import argparse
import json
import resource
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steersman.assemble.round_stages import find_stage
from steersman.maths.statistics import Interval, paired_bootstrap_interval
from steersman.rounds.by_round import rows_by_round
from steersman.rounds.graph import Graph
from steersman.rounds.progress import StageProgress, progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import Manner, run_graph
from steersman.rounds.tables import name_of

RECIPE = "rounds-harbour"
CURRENT, OLD = "labels on the current policy's answers", "labels on SFT's answers"
ON_SFT = ("rounds.mix.current=0", "rounds.mix.previous=0", "rounds.mix.sft=4")
PARTS = ("rounds", "labels")
ROUND = 2
"""The round in which the two are compared: the first whose current policy is another than SFT."""


@dataclass
class ProcessorTime:
    """Processor seconds by stage, of this process and those that it waited for; kept beside the stages' records."""

    file: Path
    began: dict[str, float] = field(default_factory=dict)

    def report(self, moment: str, one: StageProgress) -> None:
        if moment == "starts":
            self.began[one.name] = processor_time()
        elif moment == "finished":
            with self.file.open("a") as file:
                row = {"stage": one.name, "hash": one.identity.hash}
                file.write(json.dumps(row | {"seconds": processor_time() - self.began[one.name]}) + "\n")

    def of(self, found: list[StageProgress]) -> dict[str, float]:
        """By stage; what a stage took before it was killed is missing."""
        rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        kept = {(row["stage"], row["hash"]): round(row["seconds"], 1) for row in rows}
        keys = [(one.name, one.identity.hash) for one in found]
        return {key[0]: kept[key] for key in keys if key in kept}


def processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def tastes(evaluation: Path) -> dict[str, list[float]]:
    """Model -> the mean true taste of its answers to each prompt."""
    found: dict[str, list[float]] = {}
    for line in (evaluation / "answers.jsonl").read_text().splitlines():
        by_model: dict[str, list[float]] = {}
        for answer in json.loads(line)["completions"]:
            by_model.setdefault(answer["model"], []).append(answer["scores"]["taste"])
        for model, values in by_model.items():
            found.setdefault(model, []).append(statistics.fmean(values))
    return found


def difference(now: list[float], before: list[float]) -> Interval:
    generator = np.random.default_rng(0)
    return paired_bootstrap_interval(now, before, confidence=0.95, resamples=2000, generator=generator)


@dataclass(frozen=True)
class Place:
    """A seed, the folder of all seeds, and settings beside the recipe's."""

    seed: int
    out: Path
    more: tuple[str, ...]

    def rows(self, part: str) -> Path:
        return self.out / f"{part}-{self.seed}.jsonl"


def run(place: Place, *more: str) -> tuple[Graph, list[StageProgress], dict[str, float]]:
    seed, out = place.seed, place.out
    settings = [f"seed={seed}", f"out={out / f'seed-{seed}'}", *place.more, *more]
    time = ProcessorTime(out / f"processor-{seed}.jsonl")
    manner = Manner(quiet=True, report=time.report)
    graph = run_graph(
        read_graph(RECIPE, settings, find_stage), manner, again=lambda: read_graph(RECIPE, settings, find_stage)
    ).graph
    found = progress_of(graph)
    return graph, found, time.of(found)


def rounds_of(place: Place, rounds: int) -> list[dict[str, Any]]:
    """Run all rounds of a seed; a row for each."""
    graph, stood, seconds = run(place, f"rounds.count={rounds}")
    by_name = {one.name: one for one in stood}
    rows: list[dict[str, Any]] = []
    for row in rows_by_round(graph, stood):
        taste = tastes(by_name[name_of("evaluate", row.round)].output)
        last = "promoted" if row.round > 1 else "sft"
        mine = {name: value for name, value in seconds.items() if f"-{row.round}" in name}
        rows.append(
            {
                "seed": place.seed,
                "round": row.round,
                "labels": CURRENT,
                "taste": {name: round(statistics.fmean(values), 4) for name, values in taste.items()},
                "against the last": difference(taste["new"], taste[last]),
                "promoted": row.promoted,
                "reason": row.reason,
                "KL": row.kl,
                "toxic": row.toxic,
                "judgements": row.labels,
                "judgements kept": row.labels_kept,
                "processor seconds": mine if row.round > 1 else {**seconds_before(seconds), **mine},
            }
        )
    return rows


def seconds_before(seconds: dict[str, float]) -> dict[str, float]:
    """Of the stages that belong to no round."""
    return {name: value for name, value in seconds.items() if not name.rpartition("-")[2].isdecimal()}


def compared(place: Place) -> dict[str, Any]:
    """The second policy by labels on the current answers, and by as many on SFT's answers, on the same prompts."""
    found: dict[str, dict[str, list[float]]] = {}
    kept: dict[str, int | None] = {}
    for name, more in ((CURRENT, ()), (OLD, ON_SFT)):
        graph, stood, _ = run(place, f"rounds.count={ROUND}", *more)
        found[name] = tastes(next(one.output for one in stood if one.name == name_of("evaluate", ROUND)))
        kept[name] = rows_by_round(graph, stood)[ROUND - 1].labels_kept
    return {
        "seed": place.seed,
        "round": ROUND,
        "judgements kept": kept,
        "taste": {name: round(statistics.fmean(taste["new"]), 4) for name, taste in found.items()},
        "current minus SFT's": difference(found[CURRENT]["new"], found[OLD]["new"]),
    }


def table(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "promoted" in row:
            taste = ", ".join(f"{name} {value:.3f}" for name, value in row["taste"].items())
            print(f"seed {row['seed']} round {row['round']}: {taste}; {row['reason']}")
    pairs = [row["current minus SFT's"][0] for row in rows if "current minus SFT's" in row]
    if len(pairs) > 1:
        mean, error = statistics.fmean(pairs), statistics.stdev(pairs) / len(pairs) ** 0.5
        print(f"current minus SFT's labels over {len(pairs)} seeds: {mean:+.3f} (standard error {error:.3f}) {pairs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("more", nargs="*", metavar="STAGE.SETTING=VALUE", help="settings beside the recipe's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, help="run one part only; both if not given")
    parser.add_argument("--out", type=Path, default=Path(".bench/rounds"))
    parser.add_argument("--table", action="store_true", help="print what has been measured; run nothing")
    asked = parser.parse_intermixed_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if asked.table else asked.seeds:
        place = Place(seed, asked.out, tuple(asked.more))
        for part in PARTS if asked.part is None else (asked.part,):
            rows = rounds_of(place, asked.rounds) if part == "rounds" else [compared(place)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            place.rows(part).write_text(text)
            print(text, end="", flush=True)
    files = sorted(path for part in PARTS for path in asked.out.glob(f"{part}-*.jsonl"))
    table([json.loads(line) for file in files for line in file.read_text().splitlines()])


if __name__ == "__main__":
    main()
