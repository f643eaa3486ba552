"""What labels are worth on Harbour: the estimate by influence beside training again, and spoilt labels that it finds.

Run: python bench/harbour_worth.py [--seeds 0 1 2] [--labels 1500] [--held-out 800] [--out FOLDER] [--curve 2]

Three of Harbour's six annotators are spoilt: 2 turns 40 % of the choices round, 3 always takes the answer shown first,
5 answers at random. A seed is one training of the reward model with all labels, and one without each annotator's.
Prints a JSON line a seed, and a table of means over the seeds. About two minutes of one core a seed, and one more for a
curve.
"""

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.assemble.worth.run import run_worth
from steersman.data.load import load_records
from steersman.loading.sources import register_sources
from steersman.records import Comparison, to_dict
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings
from steersman.settings.worth import WorthSettings

FLIPS, LEFT, RANDOM = "annotator-2", "annotator-3", "annotator-5"
WORST, BEST = 100, 200
CPU = ("run.device=cpu", "run.threads=1", "optimiser.schedule=linear")


def spoilt(one: Comparison, chance: random.Random) -> Comparison:
    preference = one.preference
    if one.annotator == FLIPS and chance.random() < 0.4:
        preference = 1 - preference
    elif one.annotator == LEFT:
        preference = float(one.shown == "first")
    elif one.annotator == RANDOM:
        preference = float(chance.random() < 0.5)
    return replace(one, preference=preference)


def write(path: Path, rows: Sequence[Comparison]) -> Path:
    path.write_text("".join(json.dumps(to_dict(row)) + "\n" for row in rows))
    return path


def comparisons(source: str) -> list[Comparison]:
    return [one for one in load_records(source) if isinstance(one, Comparison)]


def measure(seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    out: Path = asked.out
    sft, reward, chance = out / "sft", out / f"reward-{seed}", random.Random(seed)
    words = ["model.path=harbour:base", "data.source=harbour:demonstrations?count=600", f"run.out={sft}"]
    run_sft(load_settings(SftSettings, None, [*words, "optimiser.learning_rate=4e-4", *CPU]), quiet=True)
    right = comparisons(f"harbour:comparisons?count={asked.labels}&seed={seed}&ties=false")
    labels = [spoilt(one, chance) for one in right]
    words = [f"model.path={sft}", f"data.source={write(out / f'labels-{seed}.jsonl', labels)}", f"run.out={reward}"]
    words += [f"data.held_out=harbour:comparisons/heldout?count={asked.held_out}&seed=100&ties=false"]
    words += ["train.keep=last", "train.evaluate_every=100000", "optimiser.learning_rate=6e-4", f"run.seed={seed}"]
    run_reward(load_settings(RewardSettings, None, [*words, *CPU]), quiet=True)
    found = {}
    for name, more in (
        ("influence", [f"curve.repeats={asked.curve}"]),
        ("training", ["retrain=true", "curve.repeats=0"]),
    ):
        words = [f"run={reward}", f"out={out / f'{name}-{seed}'}", "force=true", "device=cpu", *more]
        found[name] = run_worth(load_settings(WorthSettings, None, words), quiet=True).worth
    worth = [
        json.loads(line)["worth"] for line in (out / f"influence-{seed}" / "labels.jsonl").read_text().splitlines()
    ]
    wrong = [one.preference != other.preference for one, other in zip(right, labels, strict=True)]
    order = sorted(range(len(worth)), key=worth.__getitem__)
    return {
        "seed": seed,
        **{
            name: {row.name: round(row.worth.estimate, 4) for row in one.groups["annotator"]}
            for name, one in found.items()
        },
        "verdicts": {row.name: row.verdict for row in found["influence"].groups["annotator"]},
        "spoilt": sum(wrong),
        f"spoilt of the worst {WORST}": sum(wrong[i] for i in order[:WORST]),
        f"spoilt of the best {BEST}": sum(wrong[i] for i in order[-BEST:]),
        "curve": found["influence"].as_dict()["curve"],
    }


def table(rows: Sequence[dict[str, Any]]) -> None:
    names = sorted(rows[0]["influence"])
    means = {
        kind: [statistics.fmean(row[kind][name] for row in rows) for name in names]
        for kind in ("influence", "training")
    }
    for name, estimate, trained in zip(names, means["influence"], means["training"], strict=True):
        print(f"{name}: estimated {estimate:+.4f}, trained again {trained:+.4f} (means of {len(rows)} seeds)")
    print(f"correlation over the annotators: {statistics.correlation(means['influence'], means['training']):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--labels", type=int, default=1500)
    parser.add_argument("--held-out", type=int, default=800)
    parser.add_argument("--curve", type=int, default=0, help="models for each size of a learning curve")
    parser.add_argument("--out", type=Path, default=Path(".bench/worth"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    register_sources()
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        rows.append(measure(seed, asked))
        print(json.dumps(rows[-1]), flush=True)
    table(rows)


if __name__ == "__main__":
    main()
