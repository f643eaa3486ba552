"""What every test shares: deterministic seeds, no network, tiny models, small data, and the quickstart run once,
small."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not Path("/dev/nvidiactl").exists():
    # A GPU's kernels are tested without one: Triton reads this when it is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import hypothesis
import pytest
from families import spread_families
from forked import run_command
from once import made_once
from plainly import demonstrations, write_rows
from processor_time import ProcessorTime, asked_for
from typechecks import begin_test, check_first_calls

check_first_calls()

# On a busy machine an example may take any time.
hypothesis.settings.register_profile("steersman", deadline=None)
hypothesis.settings.load_profile("steersman")


def pytest_configure(config):
    if asked_for():
        config.pluginmanager.register(ProcessorTime(config))


def pytest_runtest_setup(item):
    begin_test()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    """Fixtures of a module or session are made before `seeded`; unseeded, torch begins elsewhere in each process."""
    if fixturedef.scope != "function":
        import torch

        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same torch seed, so that a failure can be run again."""
    import torch

    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    spread_families(items)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, written once."""
    from steersman.models.tiny import write_tiny_model

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
    from steersman.settings.base import load_settings
    from steersman.settings.sft import SftSettings

    def make(*more: str):
        usual = [
            *(f"model.path={tiny('llama')}", f"data.source={data}", f"run.out={tmp_path / 'run'}", "run.device=cpu"),
            *("run.threads=1", "train.kernels=default", "train.batch_size=8", "train.steps=8", "data.held_out=0.2"),
            *("optimiser.learning_rate=3e-3", "train.tokens_per_micro_batch=128", "train.evaluate_every=4"),
        ]
        return load_settings(SftSettings, None, [*usual, *more])

    return make


@pytest.fixture
def tune(settings) -> Callable[..., Any]:
    from steersman.assemble.sft import run_sft

    return lambda *more: run_sft(settings(*more), quiet=True)


@pytest.fixture(scope="session")
def out(tmp_path_factory) -> Path:
    """The folder of a fast quickstart."""

    def make(folder: Path) -> None:
        done = run_command(["quickstart", "--out", str(folder / "demo"), "--fast", "--json"])
        assert done.returncode == 0, done.stderr
        (folder / "stdout.json").write_text(done.stdout)
        # now, since a second run in the same folder writes its own numbers
        assert json.loads((folder / "demo" / "numbers.json").read_text()) == json.loads(done.stdout)

    return made_once(tmp_path_factory, "quickstart", make) / "demo"


@pytest.fixture(scope="session")
def told(out) -> dict:
    """What the command says with --json, in a process of its own."""
    return json.loads((out.parent / "stdout.json").read_text())


@pytest.fixture(scope="session")
def story(told, out):
    """The same once more, in this process: everything is there already."""
    from steersman.cli.storyteller import Silent
    from steersman.demo.quickstart import run_quickstart

    return run_quickstart(out, seed=0, fast=True, quiet=True, reporter=Silent())
