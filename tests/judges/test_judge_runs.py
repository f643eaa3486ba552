"""A judge in real runs: killed at random, dead in the middle of PPO, one of an evaluation's scorers."""

import json
import os
import random
import signal
import time
from collections import Counter

import pytest
from commandline import call
from forked import Child, program
from openai_server import openai_server

from steersman.records import Answers, Completion, Prompt, to_dict


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answers(tmp_path, count):
    found = []
    for i in range(count):
        completions = tuple(Completion(f"word {'more ' * k}{i}") for k in (1, 2))
        found.append(to_dict(Answers(Prompt(text=f"Question {i}"), completions, f"r{i}")))
    return write(tmp_path / "answers.jsonl", *found)


def test_random_kills_change_no_label_and_ask_nothing_twice(tmp_path):
    data, chance = answers(tmp_path, 24), random.Random(3)
    with openai_server(lambda number: "hang 0.02") as server:
        common = [
            "judge",
            data,
            "--model",
            f"{server.url}#m",
            'judge.endpoint.allow=["127.0.0.1"]',
            "records_at_once=3",
        ]
        assert call([*common, "--out", str(tmp_path / "whole")]) == 0
        before = len(server.requests)
        words = ["steersman", *common, "--out", str(tmp_path / "killed")]
        for _ in range(2):
            seen = len(server.requests)
            child = Child(program(words, tmp_path / "log.txt"))
            wanted = seen + chance.randrange(2, 16)
            deadline = time.monotonic() + 120
            while len(server.requests) < wanted and child.code() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            if child.code() is None:
                os.kill(child.pid, signal.SIGKILL)
                while child.code() is None:
                    time.sleep(0.005)
        assert call([*common, "--out", str(tmp_path / "killed")]) == 0
        # A reply that was under way when the process was killed is asked for again, and no other.
        assert len(server.requests) - before <= 48 + 2 * 4
    whole, killed = (tmp_path / name / "labels.jsonl" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_a_judge_that_dies_in_the_middle_of_ppo_leaves_a_checkpoint_and_is_not_asked_again(tmp_path, tiny):
    prompts = write(
        tmp_path / "prompts.jsonl", *({"prompt": f"Tell me of {word}."} for word in ("tea", "rain", "bread"))
    )
    out = tmp_path / "run"
    with openai_server(lambda number: "well" if number < 12 else "status 503") as server:
        words = ["ppo", f"model.path={tiny('llama')}", f"prompts.source={prompts}", f"run.out={out}", "run.device=cpu"]
        words += ["--scorer", "judge:general", f"scorer.judge.model={server.url}#m", "scorer.judge.max_new_tokens=4"]
        words += ['scorer.judge.endpoint.allow=["127.0.0.1"]', "scorer.judge.endpoint.patience=0.1"]
        words += ["scorer.judge.endpoint.at_once=1", "iterations=4", "prompts_per_iteration=3", "prompts.held_out=none"]
        words += ["sampling.max_new_tokens=4", "run.checkpoint_every=1", "evaluation.every=10"]
        assert call(words) == 9
        assert list((out / "checkpoints").glob("step-*"))
        server.moods = lambda number: "well"
        assert call(words) == 0
        assert set(Counter(server.answered).values()) == {1}
    assert (out / "model").is_dir()


def test_a_judge_is_one_of_an_evaluations_scorers(tmp_path, tiny):
    prompts = write(
        tmp_path / "prompts.jsonl", *({"prompt": f"Tell me of {word}."} for word in ("tea", "rain", "bread"))
    )
    model, out = str(tiny("llama")), tmp_path / "evaluation"
    with openai_server() as server:
        words = ["evaluate", f"models.start={model}", f"prompts.source={prompts}", f"run.out={out}", "run.device=cpu"]
        words += ["scorers.judge.path=judge:general", f"scorers.judge.judge.model={server.url}#m", "drawing.answers=1"]
        words += ['scorers.judge.judge.endpoint.allow=["127.0.0.1"]', "scorers.judge.judge.max_new_tokens=4"]
        words += ["drawing.max_new_tokens=4", "resamples=100"]
        assert call(words) == 0
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert all(-1 <= row["completions"][0]["scores"]["judge"] <= 1 for row in rows)


@pytest.mark.parametrize("mood", ["text I cannot say", "text :", "says [1, 2"])
def test_whatever_a_judge_replies_no_answer_wins_by_it(tmp_path, mood):
    """What is no choice is an abstention, and has no label; what is no reply ends the run."""
    data = answers(tmp_path, 3)
    with openai_server(lambda number: mood) as server:
        words = ["judge", data, "--model", f"{server.url}#m", 'judge.endpoint.allow=["127.0.0.1"]', "--out"]
        code = call([*words, str(tmp_path / "run"), "judge.endpoint.patience=0.05", "judge.endpoint.structured=false"])
    labels = tmp_path / "run" / "labels.jsonl"
    if mood.startswith("says"):
        assert code == 9
        assert not labels.exists()
    else:
        assert code == 0
        assert labels.read_text() == ""
