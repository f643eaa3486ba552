"""Labels needed for the same reward-model accuracy on Harbour: pairs chosen actively against pairs drawn at random.

`python bench/active_choice.py [--seeds 4]`; one JSON line a result. A reward model here is a linear head on fixed
features of an answer: means of the base model's last hidden states over its tokens, computed once. An ensemble of
heads, each trained on a bootstrap sample of the labels, chooses the next pairs. The labels are those of Harbour's
simulated annotators, one a pair, with their noise. Accuracy is against what most of them say about pairs of other
prompts.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch

from steersman.harbour.labellers import LABELLERS, compare
from steersman.harbour.registry import answers
from steersman.loading.language_model import load_language_model
from steersman.maths.active_choice import best_pairs, disagreement, information, probabilities
from steersman.settings.parts import ModelSettings

START, STEP, STEPS, MEMBERS = 50, 50, 11, 5
PENALTY = 30.0


def fit(columns: np.ndarray, preferred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A linear Bradley-Terry head by Newton's method, with a quadratic penalty."""
    head = np.zeros(columns.shape[1])
    for _ in range(12):
        p = 1.0 / (1.0 + np.exp(-np.clip(columns @ head, -30, 30)))
        gradient = columns.T @ (weights * (preferred - p)) - PENALTY * head
        information_ = (columns * (weights * p * (1 - p))[:, None]).T @ columns + PENALTY * np.eye(len(head))
        step = np.linalg.solve(information_, gradient)
        head += step
        if np.abs(step).max() < 1e-5:
            break
    return head


def curve(arm: str, pool: dict, test: dict, seed: int) -> list[tuple[int, float]]:
    """Accuracy by number of labels."""
    rng = np.random.default_rng(seed)
    count = len(pool["margins"])
    asked = [int(one) for one in rng.permutation(count)[:START]]
    found = []
    for _ in range(STEPS):
        columns, labels = pool["margins"][asked], pool["labels"][asked]
        head = fit(columns, labels, np.ones(len(asked)))
        accuracy = float(np.mean((test["margins"] @ head > 0) == (test["better"] > 0)))
        found.append((len(asked), accuracy))
        if arm == "random":
            left = np.setdiff1d(np.arange(count), asked)
            asked += [int(one) for one in rng.permutation(left)[:STEP]]
            continue
        heads = []
        for _ in range(MEMBERS):
            weights = np.bincount(rng.integers(len(asked), size=len(asked)), minlength=len(asked)).astype(float)
            heads.append(fit(columns, labels, weights))
        probability = probabilities(np.stack(heads) @ pool["margins"].T)
        values = disagreement(probability) if arm == "disagreement" else information(probability)
        asked += best_pairs(values, pool["prompts"], STEP, most_per_prompt=1, without=asked)
    return found


def needed(found: list[tuple[int, float]], accuracy: float) -> float:
    """Labels at which the curve reaches an accuracy, between its points; NaN where it does not."""
    for (before, low), (after, high) in itertools.pairwise(found):
        if low < accuracy <= high:
            return before + (after - before) * (accuracy - low) / (high - low)
    return float("nan") if found[0][1] < accuracy else float(found[0][0])


@torch.no_grad()
def hidden_means(texts: list[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Features of each answer: means over its tokens of the last hidden states, with a prompt before them."""
    model = load_language_model(ModelSettings(path="harbour:base"), torch.device("cpu"))
    found = {}
    for prompt, answer in texts:
        asked, said = (model.tokeniser(text, add_special_tokens=False)["input_ids"] for text in (prompt, "\n" + answer))
        whole = torch.tensor([[*asked, *said]])
        states = model.backbone.hf(input_ids=whole, output_hidden_states=True).hidden_states[-1][0, len(asked) :]
        found[prompt, answer] = np.concatenate([states.mean(0).numpy(), states[-1].numpy()]).astype(np.float64)
    return found


def kept_features(texts: list[tuple[str, str]], path: Path | None) -> dict[tuple[str, str], np.ndarray]:
    if path is None or not path.exists():
        found = hidden_means(texts)
        if path is not None:
            np.savez(path, states=np.stack([found[one] for one in texts]))
        return found
    return dict(zip(texts, np.load(path)["states"], strict=True))


def pairs_of(split: str, count: int, seed: int, states: dict) -> dict:
    rows = []
    for row in answers(split=split, count=count, seed=seed):
        texts = list({one.text: one for one in row.completions}.values())
        for i, first in enumerate(texts):
            rows += [(row.prompt, first, second) for second in texts[i + 1 :]]
    margins = np.stack([states[p.shown, a.text] - states[p.shown, b.text] for p, a, b in rows])
    better = np.array([np.mean([compare(one, *row, seed=seed).preference for one in LABELLERS]) - 0.5 for row in rows])
    labels = []
    for number, (prompt, first, second) in enumerate(rows):
        labels.append(compare(LABELLERS[number % len(LABELLERS)], prompt, first, second, seed=seed).preference)
    return {"margins": margins, "better": better, "labels": np.array(labels), "prompts": [p.id for p, _, _ in rows]}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seeds", type=int, default=4)
    words.add_argument("--prompts", type=int, default=150)
    words.add_argument("--features", type=Path, help="a file (.npz) that keeps the features for another run")
    given = words.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    sizes = {"train": given.prompts, "heldout": 100}
    texts = {
        (row.prompt.shown, one.text)
        for split, count in sizes.items()
        for row in answers(split=split, count=count, seed=0)
        for one in row.completions
    }
    states = kept_features(sorted(texts), given.features)
    scale = np.std(np.stack(list(states.values())), axis=0) + 1e-6
    states = {key: value / scale for key, value in states.items()}
    print(
        json.dumps({"what": "features", "answers": len(states), "seconds": round(time.monotonic() - began)}), flush=True
    )
    curves: dict[str, list] = {"random": [], "disagreement": [], "information": []}
    for seed in range(given.seeds):
        pool, test = (pairs_of(split, count, 0, states) for split, count in sizes.items())
        test["margins"], test["better"] = test["margins"][test["better"] != 0], test["better"][test["better"] != 0]
        for arm, kept in curves.items():
            kept.append(curve(arm, pool, test, seed))
            told = {str(count): round(accuracy, 4) for count, accuracy in kept[-1]}
            print(json.dumps({"what": arm, "seed": seed, "pairs": len(pool["labels"]), "accuracy": told}), flush=True)
    for target in (300, 400, 500):
        rows = {}
        for arm, kept in curves.items():
            goals = [dict(found)[target] for found in curves["random"]]
            counts = [needed(found, goal) for found, goal in zip(kept, goals, strict=True)]
            rows[arm] = [None if np.isnan(count) else round(count) for count in counts]
        print(json.dumps({"what": f"labels for the accuracy of {target} random ones", **rows}), flush=True)
    means = {
        arm: {
            str(found[0][0]): round(float(np.mean([one[1] for one in found])), 4) for found in zip(*kept, strict=True)
        }
        for arm, kept in curves.items()
    }
    print(json.dumps({"what": "mean accuracy", **means, "seconds": round(time.monotonic() - began)}), flush=True)


if __name__ == "__main__":
    main()
