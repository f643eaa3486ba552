"""Every command that trains, in two processes, as a user gives it: fresh data, default settings, nothing cached.

What the processes learn is compared with one process in the files beside this one.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Ended, run_command

from steersman.models.tiny import write_tiny_model

pytestmark = pytest.mark.slow

WORDS = ["dog", "game", "heart", "mind", "friend", "story", "answer"]
LENGTHS = "def score(answers):\n    return [float(len(answer)) for answer in answers]\n"
FEW = ("sampling.max_new_tokens=6",)
COMMANDS = {
    "sft": ("sft", "--data", "demonstrations.jsonl"),
    "sft without held-out rows": ("sft", "--data", "demonstrations.jsonl", "data.held_out=none"),
    "reward": ("reward", "--data", "pairs.jsonl"),
    "classifier": ("classifier", "--data", "labelled.jsonl", "--positive", "bad"),
    "dpo": ("dpo", "--data", "pairs.jsonl"),
    "kto": ("dpo", "--data", "thumbs.jsonl", "loss=kto"),
    "ilql": ("ilql", "--data", "pairs.jsonl"),
    "online-dpo": ("online-dpo", "--scorer", "lengths.py:score", "--prompts", "prompts.jsonl", "train.steps=2", *FEW),
    "nash-md": (
        *("online-dpo", "--scorer", "lengths.py:score", "--prompts", "prompts.jsonl", "train.steps=2"),
        *("method=nash_md", *FEW),
    ),
    "best-of-n": ("best-of-n", "--scorer", "lengths.py:score", "--prompts", "prompts.jsonl", "n=2", *FEW),
    "rloo": ("rloo", "--scorer", "lengths.py:score", "--prompts", "prompts.jsonl", "iterations=2", *FEW),
    "ppo": ("ppo", "--scorer", "lengths.py:score", "--prompts", "prompts.jsonl", "iterations=2", *FEW),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model and fresh data of every kind."""
    folder = tmp_path_factory.mktemp("commands")
    draw = random.Random(5)

    def words() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(2, 8)))

    def write(name: str, rows: list[dict]) -> None:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    asked = [f"Tell me of {i}." for i in range(40)]
    write("demonstrations", [{"prompt": prompt, "completion": words()} for prompt in asked])
    write("pairs", [{"prompt": prompt, "chosen": words(), "rejected": words()} for prompt in asked])
    write("thumbs", [{"prompt": prompt, "completion": words(), "label": i % 2 == 0} for i, prompt in enumerate(asked)])
    write("labelled", [{"text": words(), "label": "bad" if i % 2 else "good"} for i in range(40)])
    write("prompts", [{"prompt": prompt} for prompt in asked])
    (folder / "lengths.py").write_text(LENGTHS)
    write_tiny_model(folder / "model", "llama", layers=2)
    return folder


def words_of(command: str, out: Path) -> list[str]:
    name, *more = COMMANDS[command]
    return [name, "--model", "model", *more, "--out", str(out), "--json"]


def started(command: str, place: Path, out: Path, home: Path) -> Ended:
    usual = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    return run_command(words_of(command, out), processes=2, cwd=place, environment=usual, timeout=280)


@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_train_on_fresh_data_with_default_settings_and_know_it_afterwards(command, place, tmp_path):
    out = tmp_path / "run"
    first = started(command, place, out, tmp_path)
    assert first.returncode == 0, first.stderr[-3000:]
    assert json.loads(first.stdout)["ending"] in ("finished", "early")
    assert list((out / "model").glob("*.safetensors"))
    again = started(command, place, out, tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads(again.stdout)["ending"] == "already finished"


def test_torchrun_trains_on_fresh_data(place, tmp_path):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "steersman"]
    usual = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*words, "sft", "--model", "tiny:llama", "--data", "demonstrations.jsonl", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=usual,
        cwd=place,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "finished at step" in done.stdout
