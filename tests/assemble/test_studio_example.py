"""`steersman studio` where nothing is yet: tasks to judge, and small rounds to look at, which end with it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steersman.rounds.planned import read_plan
from steersman.runs.lock import holder_of

pytestmark = pytest.mark.slow
PATIENCE = 300.0


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, "the studio ended"
        assert time.monotonic() < deadline, f"there is no {path}"
        time.sleep(0.1)


def studio(folder: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "steersman", "studio", "--store", str(folder / "studio.db")]
    words += ["--runs", str(folder / "runs"), "--port", "0", "--json", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ))


def test_a_new_studio_has_tasks_and_a_run_to_look_at_and_the_training_ends_with_it(tmp_path):
    out = tmp_path / "runs" / "harbour"
    with studio(tmp_path) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["url"].startswith("http://127.0.0.1:")
        wait_for(out / "graph.json", process)
        assert holder_of(out) is not None
        process.terminate()
        assert process.wait(60) == 143, "stopped by SIGTERM"
    assert holder_of(out) is None, "the training ended with the studio"
    assert len(read_plan(out).stages) == 20


def test_an_empty_studio_trains_nothing(tmp_path):
    with studio(tmp_path, "--empty") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.wait(60)
    assert not (tmp_path / "runs").exists()
