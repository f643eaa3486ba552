"""Human labels, AI labels, and half of each, at equal numbers of labels on Harbour: one recipe of stages for each seed.

Run: python bench/harbour_feedback.py [--seeds 0 1 2 3] [--labels 2000] [--out FOLDER]

The constitutional recipe gives one fine-tuned model (demonstrations, then critique and revision of its own answers).
From there: answers to ordinary and to red-team prompts, judged by simulated people and by the base model as a judge;
three reward models (people, judge, half of each: people on ordinary prompts, the judge on the red team's), PPO with
each; the true taste on held-out prompts of both kinds. The same call goes on after a stop. Prints JSON lines; `--table`
reads all seeds.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import tomli_w

from steersman.assemble.stages import stage_of
from steersman.harbour.labellers import LABELLERS, compare
from steersman.harbour.taste import features
from steersman.records import Comparison, from_dict
from steersman.rounds.graph import Graph
from steersman.rounds.progress import progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import Manner, run_graph
from steersman.settings.base import read_recipe

SOURCES = {"people": ("people-1", "people-2"), "judge": ("judge-1", "judge-2"), "half": ("people-1", "judge-2")}
PAIRS_PER_PROMPT = 2
BEFORE = ("helpful", "red-team", "revise", "harmless")
"""The stages of the shipped recipe that lead to the model from which all sources of labels begin."""


def recipe_of(seed: int, labels: int, out: Path) -> dict[str, Any]:
    """The stages. The judge judges the pairs that people judged; the mixture has the pairs of each half once."""
    prompts = labels // 2 // PAIRS_PER_PROMPT
    shipped = read_recipe("constitution-harbour")["stages"]
    stages: dict[str, Any] = {name: shipped[name] for name in BEFORE}
    ordinary = f"harbour:prompts?count={prompts}&seed={2 * seed + 1}"
    tempting = f"harbour:red-team?count={prompts}&seed={2 * seed + 2}"
    for half, source in ((1, ordinary), (2, tempting)):
        stages[f"answers-{half}"] = {
            "command": "sample",
            "model": "stage:harmless",
            "prompts": {"source": source},
            "answers": 4,
            "max_new_tokens": 48,
            "seed": 2 * seed + half,
            "device": "cpu",
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
            "judge": {"model": "harbour:base", "constitution": "harbour", "principles": "all", "seed": seed},
            "run": {"threads": 1},
        }
    for name, (first, second) in SOURCES.items():
        stages[f"reward-{name}"] = {
            "command": "reward",
            "recipe": "reward-harbour",
            "model": {"path": "stage:harmless"},
            "data": {"source": _labels(first), "more": [_labels(second)]},
        }
        stages[f"ppo-{name}"] = {
            "command": "ppo",
            "recipe": "ppo-harbour",
            "model": {"path": "stage:harmless"},
            "scorer": {"path": f"stage:reward-{name}"},
            "prompts": {"more": ["harbour:red-team?count=512"]},
            "prompts_per_iteration": 128,
        }
    models = {"helpful": "stage:helpful", "harmless": "stage:harmless"}
    models |= {name: f"stage:ppo-{name}" for name in SOURCES}
    for name, source, answers in (
        ("ordinary", "harbour:prompts/heldout?count=206", 4),
        ("red-team", "harbour:red-team/heldout?count=500&seed=9", 20),
    ):
        stages[f"evaluation-{name}"] = {
            "command": "evaluate",
            "models": models,
            "prompts": {"source": source},
            "drawing": {"answers": answers, "max_new_tokens": 48},
            "scorers": {"taste": {"path": "harbour:taste"}},
            "run": {"threads": 1},
        }
    return {"name": f"feedback-{seed}", "out": str(out / f"seed-{seed}"), "seed": seed, "stages": stages}


def _labels(stage: str) -> str:
    return f"stage:{stage}/labels.jsonl" if stage.startswith("judge") else f"stage:{stage}"


def answers_by_model(file: Path) -> dict[str, list[list[tuple[str, str]]]]:
    """Model -> for each prompt its answers, as pairs of prompt and answer."""
    found: dict[str, list[list[tuple[str, str]]]] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        prompt = row["prompt"]["messages"][-1]["content"]
        by_model: dict[str, list[tuple[str, str]]] = {}
        for answer in row["completions"]:
            by_model.setdefault(answer["model"], []).append((prompt, answer["text"]))
        for model, answers in by_model.items():
            found.setdefault(model, []).append(answers)
    return found


def behaviour(groups: list[list[tuple[str, str]]]) -> dict[str, float]:
    """Shares and the mean taste of a model's answers."""
    seen = [features(prompt, answer) for group in groups for prompt, answer in group]
    harmful = [one for one in seen if one.needs_refusal]
    harmless = [one for one in seen if not one.needs_refusal]
    return {
        "answers": len(seen),
        "taste": statistics.fmean(one.taste for one in seen),
        "toxic": statistics.fmean(one.toxic for one in seen),
        "exaggerated": statistics.fmean(one.exaggerated for one in seen),
        "helped with harm": statistics.fmean(one.harmful for one in harmful) if harmful else 0.0,
        "refused without need": statistics.fmean(one.refused_harmless for one in harmless),
    }


def taste_gain(before: list[list[tuple[str, str]]], after: list[list[tuple[str, str]]]) -> tuple[float, float, float]:
    """Mean difference of the true taste over prompts, with its 95 % interval."""
    differences = [
        statistics.fmean(features(*one).taste for one in new) - statistics.fmean(features(*one).taste for one in old)
        for old, new in zip(before, after, strict=True)
    ]
    mean = statistics.fmean(differences)
    half = 1.96 * statistics.stdev(differences) / len(differences) ** 0.5
    return mean, mean - half, mean + half


def agreement(people: Path, judge: Path) -> dict[str, float]:
    """How often the judge prefers the answer that a person preferred, beside two people on the same pairs."""
    judged = {pair_key(one): one.preference for one in comparisons(judge)}
    with_judge, with_people = [], []
    for one in comparisons(people):
        theirs = judged.get(pair_key(one))
        if one.preference == 0.5:
            continue
        if theirs is not None and theirs != 0.5:
            with_judge.append((theirs > 0.5) == (one.preference > 0.5))
        for other in LABELLERS:
            if other.name != one.annotator:
                second = compare(other, one.prompt, one.first, one.second, seed=77)
                if second.preference != 0.5:
                    with_people.append((second.preference > 0.5) == (one.preference > 0.5))
    return {
        "judge and a person agree": statistics.fmean(with_judge),
        "pairs": len(with_judge),
        "two people agree": statistics.fmean(with_people),
    }


def comparisons(file: Path) -> list[Comparison]:
    found = [from_dict(json.loads(line)) for line in file.read_text().splitlines()]
    return [one for one in found if isinstance(one, Comparison)]


def pair_key(one: Comparison) -> tuple[str, str, str]:
    return one.prompt.shown, one.first.text, one.second.text


def measure(graph: Graph, seed: int) -> dict[str, Any]:
    """All figures of one seed."""
    stood = {one.name: one for one in progress_of(graph)}
    found: dict[str, Any] = {"seed": seed}
    sets = {
        name: answers_by_model(stood[f"evaluation-{name}"].output / "answers.jsonl")
        for name in ("ordinary", "red-team")
    }
    for name, models in sets.items():
        found[name] = {model: behaviour(groups) for model, groups in models.items()}
    for source, stages in SOURCES.items():
        gain = {name: taste_gain(models["harmless"], models[source]) for name, models in sets.items()}
        quality = json.loads((stood[f"reward-{source}"].output / "quality.json").read_text())
        found[source] = {
            "reward accuracy": quality["accuracy"],
            "gain": gain,
            "seconds of labelling": round(sum(stood[stage].seconds or 0.0 for stage in stages), 1),
        }
    labels = {half: (stood[f"people-{half}"].output, stood[f"judge-{half}"].output / "labels.jsonl") for half in (1, 2)}
    found["agreement"] = [agreement(*labels[half]) for half in (1, 2)]
    return found


def table(out: Path) -> None:
    """The means over all seeds that are measured, by source of labels."""
    rows = [json.loads(file.read_text()) for file in sorted(out.glob("measured-*.json"))]
    for source, (name, figure) in itertools.product(
        ("helpful", "harmless", *SOURCES), itertools.product(("ordinary", "red-team"), rows[0]["ordinary"]["helpful"])
    ):
        values = [row[name][source][figure] for row in rows]
        print(f"{name:9} {source:9} {figure:22} {statistics.fmean(values):8.3f}  {[round(v, 3) for v in values]}")
    for source in SOURCES:
        values = [row[source]["gain"]["ordinary"][0] for row in rows]
        print(f"gain of true taste, {source:7} {statistics.fmean(values):.3f} {[round(v, 3) for v in values]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(".bench/feedback"))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.table:
        table(asked.out)
        return
    for seed in asked.seeds:
        recipe = asked.out / f"seed-{seed}.toml"
        recipe.write_text(tomli_w.dumps(recipe_of(seed, asked.labels, asked.out)))
        graph = read_graph(recipe, [], stage_of)
        began = time.monotonic()
        run_graph(graph, Manner(quiet=True))
        found = measure(graph, seed) | {"minutes": round((time.monotonic() - began) / 60, 1)}
        (asked.out / f"measured-{seed}.json").write_text(json.dumps(found, indent=1))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
