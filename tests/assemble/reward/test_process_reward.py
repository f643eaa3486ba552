"""`reward process=true` as a whole: it learns which steps are wrong, and scores an answer by its worst step."""

import json
import random

import pytest
from commandline import call

from steersman.records import Prompt
from steersman.reward.model import open_reward_scorer
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow

RIGHT, WRONG = "add the two numbers", "guess some number now"


def rows(count: int, seed: int) -> str:
    chance = random.Random(seed)
    found = []
    for i in range(count):
        labels = [chance.random() < 0.5 for _ in range(3)]
        steps = [RIGHT if label else WRONG for label in labels]
        found.append({"prompt": f"Task {i}?", "completions": steps, "labels": labels})
    return "".join(json.dumps(row) + "\n" for row in found)


def test_it_learns_and_scores_an_answer_by_its_worst_step(tiny, tmp_path, capsys):
    data, out = tmp_path / "steps.jsonl", tmp_path / "run"
    data.write_text(rows(60, 0))
    words = ["reward", "--model", str(tiny("llama")), "--data", str(data), "--out", str(out), "process=true"]
    few = ["train.steps=40", "train.batch_size=8", "optimiser.learning_rate=3e-3", "data.held_out=0.2"]
    assert call([*words, *few]) == 0
    held_out = [row for row in read_rows(out / "journal.jsonl")[0] if "held-out accuracy" in row]
    assert held_out[-1]["held-out accuracy"] > 0.95
    quality = json.loads((out / "quality.json").read_text())
    assert quality["accuracy"]["estimate"] == pytest.approx(held_out[-1]["held-out accuracy"], abs=0.05)
    assert quality["first_error"]["estimate"] > 0.9
    assert "first wrong step found" in capsys.readouterr().out
    assert call(["report", str(out)]) == 0
    assert "answers whose first wrong step is found" in (out / "report.html").read_text()
    scorer = open_reward_scorer(out / "model")
    asked = Prompt(text="Task 9?")
    good, bad, best = scorer.score(
        [(asked, f"{RIGHT}\n{RIGHT}"), (asked, f"{RIGHT}\n{WRONG}\n{RIGHT}"), (asked, RIGHT)]
    )
    assert good.value > 0.8 > 0.2 > bad.value
    assert (good.parts["steps"], bad.parts["steps"], best.parts["steps"]) == (2, 3, 1)
    assert bad.parts["last step"] > 0.8 > bad.parts["mean of steps"] > bad.value
    # and as the scorer of PPO, through the command line
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Task {i}?"}) + "\n" for i in range(6)))
    ppo = ["rloo", "--model", str(tiny("llama")), "--scorer", str(out), "--prompts", str(prompts)]
    few = ["iterations=1", "prompts_per_iteration=2", "samples_per_prompt=2", "sampling.max_new_tokens=6"]
    assert call([*ppo, "--out", str(tmp_path / "rloo"), *few]) == 0


def test_steps_without_the_setting_are_pointed_to_it_and_pairs_with_it_refused(tiny, tmp_path, capsys):
    data = tmp_path / "steps.jsonl"
    data.write_text(rows(6, 0))
    words = ["reward", "--model", str(tiny("llama")), "--out", str(tmp_path / "run"), "data.held_out=none"]
    assert call([*words, "--data", str(data)]) != 0
    assert "process=true" in capsys.readouterr().err
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    assert call([*words[:4], str(tmp_path / "other"), *words[5:], "--data", str(pairs), "process=true"]) != 0
    assert "whose steps are not judged" in capsys.readouterr().err
    assert call([*words, "--data", str(data), "process=true", "use_margin=true"]) != 0
    assert "use_margin=True has no effect with process=true" in capsys.readouterr().err
