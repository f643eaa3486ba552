"""A small model's process keeps what a step frees, and gives it back where memory runs out."""

import json
import os
import platform
import subprocess
import sys

import pytest

from steersman.train import allocator

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library manages memory in its own way"
)

TOUCHED = """
import json, resource, sys
import torch
from steersman.train.allocator import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else None
torch.set_num_threads(1)

def step():
    # as a layer does: a few tensors of a megabyte or two, all given back before the next step
    made = [torch.zeros(400_000) + i for i in range(12)]
    return float(made[-1][0])

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(json.dumps({"kept": kept, "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}))
"""


def measured(how: str) -> dict:
    # every tensor by a call of its own, as the library begins; what it comes to by itself differs from run to run
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 2**10)}
    command = [sys.executable, "-c", TOUCHED, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_a_step_s_memory_is_there_for_the_next_one():
    kept, as_it_is = measured("kept"), measured("as it is")
    assert kept["kept"] is True
    # 20 steps of 24 tensors, 188,000 pages of 4 kB in all; now and then a process still grows by a few of them
    assert kept["faults"] < as_it_is["faults"] / 10


GIVEN_BACK = """
import json, resource
from pathlib import Path
import torch
from steersman.train.allocator import give_back_memory, keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

keep_freed_memory()
torch.set_num_threads(1)
before = resident()
made = [torch.zeros(400_000) + i for i in range(60)]
del made
kept = resident() - before
give_back_memory()
print(json.dumps({"kept": kept, "after": resident() - before}))
"""


def test_what_was_kept_is_given_back_where_memory_runs_out():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    # 60 tensors of 1.6 MB
    assert found["kept"] > 60
    assert found["after"] < 30


class Library:
    """A C library that writes down what it is told. `answers` is what mallopt returns: 1, or 0 if it refuses."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.told: list[tuple[str, str]] = []

    def mallopt(self, option: int, value: int) -> int:
        # the numbers of <malloc.h>
        name = {-1: "trim above", -3: "map above"}[option]
        self.told.append((name, f"{value / 2**20:g} MB"))
        return self.answers.pop(0)

    def malloc_trim(self, left: int) -> int:
        self.told.append(("trim to", f"{left} bytes"))
        return 1


def test_memory_is_kept_by_two_settings_and_both_must_be_taken(monkeypatch):
    for answers, kept in (((1, 1), True), ((0,), False), ((1, 0), False)):
        library = Library(*answers)
        monkeypatch.setattr(allocator, "_library", lambda library=library: library)
        assert allocator.keep_freed_memory() is kept
    assert dict(library.told) == {"map above": "32 MB", "trim above": "256 MB"}


def test_memory_is_given_back_and_no_more_is_kept(monkeypatch):
    library = Library(1)
    monkeypatch.setattr(allocator, "_library", lambda: library)
    allocator.give_back_memory()
    assert library.told == [("trim above", "0.125 MB"), ("trim to", "0 bytes")]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert allocator.keep_freed_memory() is False
    allocator.give_back_memory()
