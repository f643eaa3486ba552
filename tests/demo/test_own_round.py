"""A person labels the quickstart's third round, and the policy learns that person's taste: here always the shorter
answer, given in the studio's store as the pages give it."""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from forked import run_command

from steersman.maths.statistics import paired_bootstrap_interval
from steersman.store.claims import claim_tasks
from steersman.store.database import open_store
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import find_project


def label_shorter(store: Path, count: int) -> int:
    """Judge so many tasks. Returns how many of them were ties."""
    ties = 0
    with open_store(str(store)) as database:
        project = find_project(database, "quickstart")
        for task in claim_tasks(project, "me", count=count):
            first, second = (len(one.text.split()) for one in task.content.completions)
            preference = 0.5 if first == second else float(first < second)
            ties += first == second
            submit_label(project, Submission("me", task.id, f"me-{task.id}", {"preference": preference}))
    return ties


def words_by_prompt(answers: Path, model: str) -> list[float]:
    return [
        statistics.mean(len(one["text"].split()) for one in row["completions"] if one["model"] == model)
        for row in map(json.loads, answers.read_text().splitlines())
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_labels_of_an_odd_taste_change_the_policy(told, out, tmp_path):
    place = tmp_path / "demo"
    shutil.copytree(out, place)
    words = ["rounds", "run", str(place / "round-3.toml"), f"out={place}", "ppo-3.iterations=14"]
    words += [f"rounds.in_round.3.label.project=studio:quickstart?store={place / 'studio.db'}"]
    words += ["ppo-3.prompts_per_iteration=64", "evaluate-3.drawing.answers=2", "--once", "--json"]
    waiting = run_command(words, timeout=500)
    assert waiting.returncode == 75, waiting.stderr[-2000:]
    assert "0 of 60 labels" in waiting.stderr
    assert label_shorter(place / "studio.db", 60) < 20
    done = run_command(words, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["ran"] == ["labels-3", "gate-3", "reward-3", "ppo-3", "evaluate-3", "promote-3"]
    assert said["rounds"][2]["labels"] == 60
    answers = Path(said["outputs"]["evaluate-3"]) / "answers.jsonl"
    before, after = (words_by_prompt(answers, model) for model in ("promoted", "new"))
    generator = np.random.default_rng(0)
    change = paired_bootstrap_interval(after, before, confidence=0.95, resamples=2000, generator=generator)
    assert change.high < 0, change
    assert said["rounds"][2]["by"] == "reward"
    assert said["rounds"][2]["promoted"]
