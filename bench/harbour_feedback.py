"""Human labels, AI labels, and half of each, at equal numbers of labels on Harbour: one recipe of stages for each seed.

Run: python bench/harbour_feedback.py [--seeds 4] [--labels 2000] [--out FOLDER]

From one fine-tuned model: answers to two sets of prompts, judged by simulated people and by the base model as a judge;
three reward models (people, judge, half of each), PPO with each, and the true taste on held-out prompts. The same
call goes on after a stop. Prints one JSON line a seed and source of labels, then the means.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import tomli_w

from steersman.assemble.stages import stage_of
from steersman.rounds.graph import Graph
from steersman.rounds.progress import progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import run_graph

SOURCES = {"people": ("people-1", "people-2"), "judge": ("judge-1", "judge-2"), "half": ("people-1", "judge-2")}
PAIRS_PER_PROMPT = 2


def recipe_of(seed: int, labels: int, out: Path) -> dict[str, Any]:
    """The stages. The judge judges the pairs that people judged; the mixture has the pairs of each half once."""
    prompts = labels // 2 // PAIRS_PER_PROMPT
    stages: dict[str, Any] = {
        "sft": {"command": "sft", "recipe": "sft-harbour"},
    }
    for half in (1, 2):
        # another draw of prompts and of answers: a pair that stands in both halves is rare
        source = f"harbour:prompts?count={prompts}&seed={2 * seed + half}"
        stages[f"answers-{half}"] = {
            "command": "sample",
            "model": "stage:sft",
            "prompts": {"source": source},
            "answers": 4,
            "max_new_tokens": 48,
            "seed": 2 * seed + half,
        }
        stages[f"people-{half}"] = {
            "command": "simulate",
            "data": {"source": f"stage:answers-{half}"},
            "per_prompt": PAIRS_PER_PROMPT,
            "seed": seed,
        }
        stages[f"judge-{half}"] = {
            "command": "judge",
            "data": {"source": f"stage:people-{half}"},
            "judge": {"model": "harbour:base", "constitution": "harbour", "principles": 4, "seed": seed},
        }
    for name, (first, second) in SOURCES.items():
        stages[f"reward-{name}"] = {
            "command": "reward",
            "recipe": "reward-harbour",
            "model": {"path": "stage:sft"},
            "data": {"source": _labels(first), "more": [_labels(second)]},
        }
        stages[f"ppo-{name}"] = {
            "command": "ppo",
            "recipe": "ppo-harbour",
            "model": {"path": "stage:sft"},
            "scorer": {"path": f"stage:reward-{name}"},
        }
    stages["evaluation"] = {
        "command": "evaluate",
        "models": {"sft": "stage:sft", **{name: f"stage:ppo-{name}" for name in SOURCES}},
        "prompts": {"source": "harbour:prompts/heldout"},
        "drawing": {"answers": 4, "max_new_tokens": 48},
        "scorers": {"taste": {"path": "harbour:taste"}},
        "refusals": {"harmful": "form=harmful"},
    }
    return {"name": f"feedback-{seed}", "out": str(out / f"seed-{seed}"), "seed": seed, "stages": stages}


def _labels(stage: str) -> str:
    return f"stage:{stage}/labels.jsonl" if stage.startswith("judge") else f"stage:{stage}"


def measure(graph: Graph) -> dict[str, Any]:
    """By source of labels: accuracy of the reward model on held-out judgements of people, and the true taste after PPO
    beside the SFT model's."""
    stood = {one.name: one for one in progress_of(graph)}
    figures = json.loads((stood["evaluation"].output / "results.json").read_text())["figures"]
    taste = {one["model"]: one["value"] for one in figures if one["measure"]["name"] == "taste"}
    found: dict[str, Any] = {}
    for name, stages in SOURCES.items():
        quality = json.loads((stood[f"reward-{name}"].output / "quality.json").read_text())
        found[name] = {
            "accuracy": quality["accuracy"],
            "taste": taste[name],
            "taste of SFT": taste["sft"],
            "seconds of labelling": round(sum(stood[stage].seconds or 0.0 for stage in stages), 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(".bench/feedback"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[float]] = {name: [] for name in SOURCES}
    for seed in range(asked.seeds):
        recipe = asked.out / f"seed-{seed}.toml"
        recipe.write_text(tomli_w.dumps(recipe_of(seed, asked.labels, asked.out)))
        graph = read_graph(recipe, [], stage_of)
        began = time.monotonic()
        run_graph(graph, quiet=True)
        for name, found in measure(graph).items():
            print(json.dumps({"seed": seed, "labels": name, **found}), flush=True)
            rows[name].append(float(found["taste"]["estimate"]))
        print(json.dumps({"seed": seed, "minutes": round((time.monotonic() - began) / 60, 1)}), flush=True)
    for name, values in rows.items():
        print(json.dumps({"labels": name, "mean true taste": statistics.fmean(values), "seeds": len(values)}))


if __name__ == "__main__":
    main()
