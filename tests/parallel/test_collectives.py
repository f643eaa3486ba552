"""Ranks that call different collectives are told so in seconds, by name; one that works for long is waited for."""

import subprocess
import sys
from pathlib import Path

import pytest
from forked import Ended, run_text

JOINED = """
import os, pathlib, sys, time, torch
import torch.distributed as dist
from steersman.parallel import collective_trace, collectives
from steersman.parallel.world import end_process, join
from steersman.errors import SteersmanError
collective_trace.BEAT_SECONDS = collectives.LOOK_SECONDS = 0.1
collective_trace.STUCK_SECONDS = 0.5

def barriers(world, count):
    for _ in range(count):
        world.barrier()

def extra_sum(world):
    return world.sum({"loss": 1.0})

def forward_of_the_model():
    dist.all_reduce(torch.ones(1))

def body(world):
%s

try:
    with join(torch.device("cpu")) as world:
        body(world)
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    end_process(1)
end_process(0)
"""


def two(body: str, **environment: str) -> Ended:
    return run_text(
        JOINED % "\n".join(f"    {line}" for line in body.strip().splitlines()),
        processes=2,
        environment=environment,
        timeout=250,  # below the time limit of a collective
    )


def test_a_rank_with_one_collective_more_than_the_other_is_named_at_once():
    done = two(
        """
barriers(world, 2 if world.first else 1)
extra_sum(world)
barriers(world, 1)
"""
    )
    assert done.returncode == 1
    assert "the ranks are out of step" in done.stderr
    assert "rank 0: barrier in a script" in done.stderr
    assert "rank 1: gather in a script" in done.stderr


def test_a_rank_that_is_stuck_in_a_collective_of_the_model_is_named():
    done = two(
        """
if world.first:
    barriers(world, 1)
else:
    forward_of_the_model()
"""
    )
    assert done.returncode == 1
    assert "the ranks are out of step" in done.stderr
    assert "rank 1: a collective of the model, in outside of Steersman" in done.stderr


def test_a_rank_that_works_longer_than_the_time_limit_of_a_collective_is_waited_for():
    done = two(
        """
world.first_alone("reading", lambda: time.sleep(3))
assert world.exchange(world.rank) == [0, 1]
""",
        STEERSMAN_COLLECTIVE_TIMEOUT="1",
    )
    assert done.returncode == 0, done.stderr


def test_who_is_waited_for_is_said(tmp_path):
    done = two(
        """
collectives.SAY_AFTER = 0.5
said = pathlib.Path(os.environ["SAID"])
tell = collectives.tell
def tell_and_touch(text):
    tell(text)
    said.touch()
collectives.tell = tell_and_touch
def work():
    while not said.exists():
        time.sleep(0.01)
world.first_alone("reading", work)
""",
        SAID=str(tmp_path / "said"),
    )
    assert done.returncode == 0, done.stderr
    assert "rank 1 has waited" in done.stderr
    assert "rank 0 is at" in done.stderr


def test_a_rank_that_ends_early_is_told_of():
    done = two(
        """
if not world.first:
    end_process(3)
barriers(world, 1)
"""
    )
    assert "rank 0 lost the others in barrier in a script: one of them has ended" in done.stderr


def test_a_failure_of_the_first_rank_is_every_ranks_failure():
    done = two(
        """
def work():
    raise SteersmanError("the disk is full")
world.first_before_others("writing", work)
"""
    )
    assert "SteersmanError: the disk is full" in done.stderr
    assert "writing failed on rank 0, so this rank stops too: SteersmanError: the disk is full" in done.stderr


def test_sums_and_long_values_reach_every_rank():
    done = two(
        """
long = "x" * (5000 + 3000 * world.rank)
assert [len(value) for value in world.exchange(long)] == [5000, 8000]
assert world.sum({"b": 0.5, "a": float(world.rank)}) == {"a": 1.0, "b": 1.0}
assert world.max(3 + world.rank) == 4
assert world.any(not world.first) and not world.any(False)
parts = world.gather(torch.full((700, 2), world.rank, dtype=torch.float64))
assert [part.shape for part in parts] == [(700, 2)] * 2 and parts[1].eq(1).all() and parts[0].eq(0).all()
order = []
world.first_before_others("writing", lambda: order.append(world.rank))
assert order == [world.rank]
"""
    )
    assert done.returncode == 0, done.stderr


RESTARTED = """
import os, sys, time, torch
from pathlib import Path
from steersman.parallel.world import end_process, join
mark = Path(sys.argv[1])
with join(torch.device("cpu")) as world:
    assert world.exchange(world.rank) == [0, 1]
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        time.sleep(0.1)
        os._exit(9) if world.rank == 1 else time.sleep(30)
    (mark / str(world.rank)).touch()
end_process(0)
"""


@pytest.mark.slow
def test_torchrun_restarts_the_ranks_after_one_was_killed(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(RESTARTED)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path)], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name for path in tmp_path.iterdir()} >= {"0", "1"}
