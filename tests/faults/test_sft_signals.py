"""A run that is asked to stop saves first; one that is asked twice goes at once; two never work in one folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import run_command
from killing import Forked, assert_same_run, count_rows, wait, wait_until

pytestmark = pytest.mark.slow

# Each micro-batch takes half a minute, and the first one leaves a file behind when it begins.
DAWDLE = """
import pathlib, time
from steersman.methods.sft import NextToken
learn = NextToken.__call__
def dawdle(self, model, batch):
    pathlib.Path({marker!r}).touch()
    time.sleep(30)
    return learn(self, model, batch)
NextToken.__call__ = dawdle
"""


# What a command does before its first step takes ten minutes: loading the model, or reading the data.
LOADING = {
    "the model": "steersman.loading.language_model.load_tokeniser",
    "the data": "steersman.assemble.sft.demonstration_rows",
}
SLOW = """
import importlib, pathlib, time
module, _, name = {place!r}.rpartition(".")
def dawdle(*_, **__):
    pathlib.Path({marker!r}).touch()
    time.sleep(600)
setattr(importlib.import_module(module), name, dawdle)
"""


@pytest.fixture
def dawdling(sft_command, tmp_path):
    """A run that is in the middle of a step of half a minute."""
    marker = tmp_path / "began"
    running = Forked(sft_command()(tmp_path / "run"), tmp_path / "log.txt", DAWDLE.format(marker=str(marker)))
    assert wait_until(running, marker.exists)
    yield running
    if running.code() is None:
        os.kill(running.pid, signal.SIGKILL)
        wait(running)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_exits_with_75_and_the_run_goes_on_to_the_same_bits(name, sft_command, whole_sft, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    running = Forked(sft_command()(folder), log)
    assert wait_until(running, lambda: count_rows(folder) >= 20)
    os.kill(running.pid, signal.Signals[name])
    assert wait(running, seconds=120) == 75
    stopped = json.loads((folder / "ending.json").read_text())
    assert stopped["state"] == "stopped"
    assert (folder / "checkpoints" / f"step-{stopped['step']:06d}" / "manifest.json").exists()
    assert f"{name}: stopping after this step, with everything saved" in log.read_text()
    assert "run the same command again" in log.read_text()
    assert not (folder / "model").exists()
    rows = count_rows(folder)
    assert wait(Forked(sft_command()(folder), log)) == 0
    assert count_rows(folder) > rows
    assert_same_run(folder, whole_sft.folder)


def state_of(folder: Path) -> str | None:
    """What `runs list` says of this run; None if it is not there yet."""
    listed = run_command(["runs", "list", str(folder.parent), "--json"])
    assert listed.returncode == 0, listed.stderr
    return next((run["state"] for run in json.loads(listed.stdout)["runs"] if run["name"] == folder.name), None)


def test_a_killed_run_is_listed_as_crashed(dawdling, tmp_path):
    assert state_of(tmp_path / "run") == "running"
    os.kill(dawdling.pid, signal.SIGKILL)
    wait(dawdling)
    assert state_of(tmp_path / "run") == "crashed"


@pytest.mark.parametrize("what", LOADING)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_while_loading_exits_with_75_at_once(name, what, sft_command, whole_sft, tmp_path):
    folder, log, marker = tmp_path / "run", tmp_path / "log.txt", tmp_path / "began"
    prelude = SLOW.format(place=LOADING[what], marker=str(marker))
    running = Forked(sft_command()(folder), log, prelude)
    assert wait_until(running, marker.exists)
    os.kill(running.pid, signal.Signals[name])
    assert wait(running) == 75
    assert f"{name} while loading: stopped" in log.read_text()
    assert state_of(folder) == ("stopped" if what == "the data" else None)
    if name == "SIGTERM":
        assert wait(Forked(sft_command()(folder), log)) == 0
        assert_same_run(folder, whole_sft.folder)


def test_a_signal_is_awaited_before_torch_is_imported(sft_command, tmp_path):
    words = [sys.executable, "-m", "steersman", *sft_command()(tmp_path / "run")[1:]]
    with (tmp_path / "log.txt").open("wb") as log, subprocess.Popen(words, stderr=log, stdout=log) as running:
        status, maps = Path(f"/proc/{running.pid}/status"), Path(f"/proc/{running.pid}/maps")
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGUSR1 - 1) & 1:
            assert running.poll() is None
            time.sleep(0.001)
        assert "libtorch" not in maps.read_text()
        running.send_signal(signal.SIGTERM)
        assert running.wait(300) == 75


def test_a_second_interrupt_quits_within_the_step_and_nothing_is_lost(dawdling, sft_command, whole_sft, tmp_path):
    os.kill(dawdling.pid, signal.SIGINT)
    time.sleep(0.5)
    assert dawdling.code() is None, "the first interrupt only asks"
    os.kill(dawdling.pid, signal.SIGINT)
    assert wait(dawdling, seconds=20) not in (0, 75)
    assert wait(Forked(sft_command()(tmp_path / "run"), tmp_path / "again.txt")) == 0
    assert_same_run(tmp_path / "run", whole_sft.folder)


def test_a_second_process_in_the_folder_is_refused_with_6_while_the_first_goes_on(dawdling, sft_command, tmp_path):
    log = tmp_path / "second.txt"
    assert wait(Forked(sft_command()(tmp_path / "run"), log)) == 6
    assert f"process {dawdling.pid}" in log.read_text()
    assert dawdling.code() is None, "the first goes on"
