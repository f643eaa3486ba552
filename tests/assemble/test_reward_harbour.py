"""Reward models on Harbour: what the members of an ensemble disagree about."""

import random
import statistics

import pytest
import torch

from steersman.assemble.reward import run_reward
from steersman.assemble.score import load_scorer
from steersman.harbour.registry import answers
from steersman.harbour.taste import features
from steersman.settings.base import check, load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings

ANSWERS = 120


@pytest.mark.slow
def test_an_ensemble_disagrees_more_about_exaggerated_and_garbled_answers_than_about_ordinary_ones(tmp_path):
    words = ["model.path=harbour:base", "data.source=harbour:comparisons?count=320&ties=false", "data.held_out=none"]
    words += [f"run.out={tmp_path / 'run'}", "members=3", "train.epochs=2", "optimiser.learning_rate=3e-4"]
    words += ["run.device=cpu", "run.threads=1", "train.kernels=default"]
    run_reward(load_settings(RewardSettings, None, words), quiet=True)
    rows = [(row.prompt, answer.text) for row in answers(split="heldout") for answer in row.completions]
    random.Random(0).shuffle(rows)
    seen = [features(prompt.shown, text) for prompt, text in rows]
    kinds = {
        "ordinary": [r for r, f in zip(rows, seen, strict=True) if not (f.garbled or f.exaggerated or f.toxic)],
        "exaggerated": [r for r, f in zip(rows, seen, strict=True) if f.exaggerated],
        "garbled": [r for r, f in zip(rows, seen, strict=True) if f.garbled],
    }
    scorer = load_scorer(check(ScorerSettings, {"path": str(tmp_path / "run")}), torch.device("cpu"))
    found = {
        kind: statistics.mean(score.parts["std"] for score in scorer.score(items[:ANSWERS]))
        for kind, items in kinds.items()
    }
    print({kind: (len(kinds[kind][:ANSWERS]), round(std, 3)) for kind, std in found.items()})
    assert found["exaggerated"] > found["ordinary"]
    assert found["garbled"] > found["ordinary"]
