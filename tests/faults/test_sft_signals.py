"""A run that is asked to stop saves first; one that is asked twice goes at once; two never work in one folder."""

import json
import os
import signal
import time

import pytest
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
    assert wait(running, seconds=10) == 75
    stopped = json.loads((folder / "ending.json").read_text())
    assert stopped["state"] == "stopped"
    assert (folder / "checkpoints" / f"step-{stopped['step']:06d}" / "manifest.json").exists()
    assert "run the same command again" in log.read_text()
    assert not (folder / "model").exists()
    rows = count_rows(folder)
    assert wait(Forked(sft_command()(folder), log)) == 0
    assert count_rows(folder) > rows
    assert_same_run(folder, whole_sft.folder)


def test_a_second_interrupt_quits_within_two_seconds_and_nothing_is_lost(dawdling, sft_command, whole_sft, tmp_path):
    os.kill(dawdling.pid, signal.SIGINT)
    time.sleep(0.5)
    assert dawdling.code() is None, "the first interrupt only asks"
    os.kill(dawdling.pid, signal.SIGINT)
    assert wait(dawdling, seconds=2) not in (0, 75)
    assert wait(Forked(sft_command()(tmp_path / "run"), tmp_path / "again.txt")) == 0
    assert_same_run(tmp_path / "run", whole_sft.folder)


def test_a_second_process_in_the_folder_is_refused_in_a_second_with_6(dawdling, sft_command, tmp_path):
    log = tmp_path / "second.txt"
    started = time.monotonic()
    assert wait(Forked(sft_command()(tmp_path / "run"), log)) == 6
    assert time.monotonic() - started < 1.0
    assert f"process {dawdling.pid}" in log.read_text()
    assert dawdling.code() is None, "the first goes on"
