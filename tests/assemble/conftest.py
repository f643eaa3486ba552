"""Tiny models, small files of demonstrations, fine-tuning in one call, and the quickstart's story told once, small."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plainly import demonstrations, write_rows

from steersman.assemble.quickstart import run_quickstart
from steersman.assemble.repeat import RunResult
from steersman.assemble.sft import run_sft
from steersman.assemble.story import Story
from steersman.cli.storyteller import Silent
from steersman.models.tiny import write_tiny_model
from steersman.settings.base import load_settings
from steersman.settings.sft import SftSettings


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, written once."""
    root = tmp_path_factory.mktemp("tiny")
    return lambda family: root / family if (root / family).exists() else write_tiny_model(root / family, family)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "demonstrations.jsonl", demonstrations(60, 1))


@pytest.fixture(scope="session")
def held_out(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "held-out.jsonl", demonstrations(12, 2))


@pytest.fixture
def settings(tiny, data, tmp_path):
    """Settings of a short run in `tmp_path/run`, with the given ones put over them."""

    def make(*more: str) -> SftSettings:
        usual = [
            *(f"model.path={tiny('llama')}", f"data.source={data}", f"run.out={tmp_path / 'run'}", "run.device=cpu"),
            *("run.threads=1", "train.kernels=default", "train.batch_size=8", "train.steps=8", "data.held_out=0.2"),
            *("optimiser.learning_rate=3e-3", "train.tokens_per_micro_batch=128", "train.evaluate_every=4"),
        ]
        return load_settings(SftSettings, None, [*usual, *more])

    return make


@pytest.fixture
def tune(settings) -> Callable[..., RunResult]:
    return lambda *more: run_sft(settings(*more), quiet=True)


@pytest.fixture(scope="session")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("quickstart") / "demo"


@pytest.fixture(scope="session")
def told(out) -> dict:
    """What the command says with --json, in a process of its own."""
    command = [sys.executable, "-m", "steersman.cli.main", "quickstart", "--out", str(out), "--fast", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads((out / "numbers.json").read_text()) == found
    return found


@pytest.fixture(scope="session")
def story(told, out) -> Story:
    """The same once more, in this process: everything is there already."""
    return run_quickstart(out, seed=0, fast=True, quiet=True, teller=Silent())
