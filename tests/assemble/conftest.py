"""Tiny models, small files of demonstrations, and fine-tuning in one call."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plainly import demonstrations, write_rows

from steersman.assemble.repeat import RunResult
from steersman.assemble.sft import run_sft
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
