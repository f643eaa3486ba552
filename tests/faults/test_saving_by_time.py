"""A run is saved by time as well, and each start says where it goes on: through the command line, with the defaults."""

import json
import signal
from pathlib import Path

import pytest
from forked import Ended, run_text

from steersman.models.tiny import write_tiny_model
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow

# Each look at the clock of rank 0 finds 100 seconds gone. That of another rank stands still.
CLOCK = """
import os, sys
from steersman.runs import save_clock
import itertools
seconds = itertools.count(0, 100 if os.environ.get("RANK", "0") == "0" else 0)
save_clock.SaveClock.__init__.__defaults__ = (lambda: next(seconds),)
"""
REWARD = """
import json, os, signal
from pathlib import Path

def vowels(answers):
    rows = Path("run/journal.jsonl").read_text().splitlines()
    done = sum("score" in json.loads(row) for row in rows)
    if done == int(os.environ["KILLED_AT"]) and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(sum(answer.count(letter) for letter in "aeiou")) for answer in answers]
"""


@pytest.fixture
def place(tmp_path) -> Path:
    write_tiny_model(tmp_path / "model", "llama", layers=1)
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Tell {i}."}) + "\n" for i in range(40)))
    return tmp_path


def ppo(place: Path, killed_at: int, processes: int = 1) -> Ended:
    words = ["steersman", "ppo", "--model", "model", "--scorer", "reward.py:vowels", "--prompts", "prompts.jsonl"]
    words += ["--out", "run", "iterations=6", "prompts_per_iteration=4", "sampling.max_new_tokens=4"]
    text = f"{CLOCK}\nsys.argv = {words!r}\nfrom steersman.cli.main import main\nmain()"
    return run_text(text, processes=processes, cwd=place, environment={"KILLED_AT": str(killed_at)})


def notices(place: Path) -> list[str]:
    return [row["notice"] for row in read_rows(place / "run" / "journal.jsonl")[0] if "notice" in row]


def test_a_killed_run_goes_on_from_the_last_five_minutes(place):
    assert ppo(place, killed_at=4).returncode == -signal.SIGKILL
    again = ppo(place, killed_at=4)
    assert again.returncode == 0, again.stderr[-3000:]
    # Looks at the clock: at 0 s, and after each iteration. After the third, 300 s have passed.
    assert "steersman: resumed at iteration 3" in again.stderr
    assert "resumed at iteration 3" in notices(place)


def test_a_run_killed_before_its_first_checkpoint_says_that_it_starts_over(place):
    assert ppo(place, killed_at=2).returncode == -signal.SIGKILL
    again = ppo(place, killed_at=2)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "steersman: starting over: no checkpoint, and iteration 2 had been reached" in again.stderr


def test_the_first_process_decides_for_all(place):
    done = ppo(place, killed_at=99, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    # Two are kept besides the best: the last iteration's, and one by time.
    assert len(list((place / "run" / "checkpoints").glob("step-*"))) >= 2
    assert (place / "run" / "checkpoints" / "step-000003").exists()
    assert not [words for words in notices(place) if "resumed" in words or "starting over" in words]
