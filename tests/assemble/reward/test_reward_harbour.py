"""Reward models on Harbour: what the members of an ensemble disagree about."""

import json
import random
import statistics

import pytest
import torch

from steersman.assemble.reward.run import run_reward
from steersman.harbour.registry import answers, comparisons
from steersman.harbour.taste import features
from steersman.loading.scorers import load_scorer
from steersman.records import Prompt, to_dict
from steersman.settings.base import check, load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings

ANSWERS, LABELS = 160, 400


def plain(prompt: Prompt, text: str) -> bool:
    seen = features(prompt.shown, text)
    return not (seen.garbled or seen.exaggerated or seen.toxic)


def in_disorder(text: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


@pytest.mark.slow
def test_an_ensemble_disagrees_about_exaggerated_answers_and_agrees_that_garbled_ones_are_bad(tmp_path):
    """It has learned from ordinary answers alone: nobody has labelled yet what a policy will say that goes too far. The
    base model knows unreadable text, so all members score it low."""
    labelled = comparisons(count=2000, seed=0, ties=False)
    ordinary = [c for c in labelled if all(plain(c.prompt, answer.text) for answer in (c.first, c.second))][:LABELS]
    source = tmp_path / "judgements.jsonl"
    source.write_text("".join(json.dumps(to_dict(comparison)) + "\n" for comparison in ordinary))
    words = ["model.path=harbour:base", f"data.source={source}", "data.held_out=none", f"run.out={tmp_path / 'run'}"]
    words += ["members=3", "train.epochs=2", "optimiser.learning_rate=3e-4"]
    words += ["run.device=cpu", "run.threads=1", "train.kernels=default"]
    run_reward(load_settings(RewardSettings, None, words), quiet=True)
    rows = [(row.prompt, answer.text) for row in answers(split="heldout") for answer in row.completions]
    rng = random.Random(0)
    rng.shuffle(rows)
    seen = [features(prompt.shown, text) for prompt, text in rows]
    kinds = {
        "ordinary": [row for row in rows if plain(*row)],
        "exaggerated": [r for r, f in zip(rows, seen, strict=True) if f.exaggerated],
        "garbled": [(prompt, in_disorder(text, rng)) for prompt, text in rows if plain(prompt, text)],
    }
    scorer = load_scorer(check(ScorerSettings, {"path": str(tmp_path / "run")}), torch.device("cpu"))
    scores = {kind: scorer.score(items[:ANSWERS]) for kind, items in kinds.items()}
    found = {kind: statistics.mean(score.parts["std"] for score in many) for kind, many in scores.items()}
    values = {kind: statistics.mean(score.value for score in many) for kind, many in scores.items()}
    print({kind: (len(scores[kind]), round(std, 3), round(values[kind], 3)) for kind, std in found.items()})
    assert len(ordinary) == LABELS
    assert found["exaggerated"] > found["ordinary"]
    assert values["garbled"] < values["ordinary"] - 0.5
