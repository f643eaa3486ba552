"""The profile of a few steps: which are profiled, and what the table says.

Torch's own profiler, which takes seconds to start, is tested with whole runs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from steersman.train.profiling import Profile, phase


class Averages(list):
    def table(self, **given) -> str:
        return f"by {given['sort_by']}, {given['row_limit']} rows"


class Recorder:
    """In place of torch's profiler."""

    def __init__(self, activities) -> None:
        self.running = False
        self.activities = activities

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        assert self.running
        self.running = False

    def export_chrome_trace(self, path: str) -> None:
        assert not self.running
        Path(path).touch()

    def key_averages(self) -> Averages:
        return Averages()


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    monkeypatch.setattr(torch.profiler, "profile", Recorder)


def steps(profile: Profile, count: int) -> None:
    for _ in range(count):
        with phase("forward"):
            torch.ones(3).sum()
        profile.step_ended()


def head(folder: Path) -> str:
    return (folder / "phases.txt").read_text().splitlines()[0].split(",")[0]


def test_the_first_step_warms_up_and_so_many_after_it_are_looked_at(tmp_path: Path):
    profile = Profile(tmp_path / "profile", 2, left=5)
    steps(profile, 1)
    assert profile._profiler is not None, "the second step is the first that is looked at"
    steps(profile, 1)
    assert not (tmp_path / "profile").exists()
    steps(profile, 1)
    assert head(tmp_path / "profile") == "2 steps"
    assert profile._profiler is None
    steps(profile, 3)
    profile.end()
    assert head(tmp_path / "profile") == "2 steps", "it is written once"
    assert (tmp_path / "profile" / "trace.json.gz").exists()


def test_an_only_step_is_looked_at_at_once(tmp_path: Path):
    steps(Profile(tmp_path, 1, left=1), 1)
    assert head(tmp_path) == "1 steps"


def test_a_run_that_ends_before_leaves_what_was_seen(tmp_path: Path):
    profile = Profile(tmp_path, 50, left=3)
    steps(profile, 3)
    profile.end()
    assert head(tmp_path) == "2 steps"


def test_a_run_that_ends_before_anything_was_seen_leaves_nothing(tmp_path: Path):
    profile = Profile(tmp_path / "profile", 2, left=5)
    profile.end()
    assert not (tmp_path / "profile").exists()


def test_a_gpu_is_looked_at_where_there_is_one(tmp_path: Path, monkeypatch):
    kinds = torch.profiler.ProfilerActivity
    for there, expected in ((False, [kinds.CPU]), (True, [kinds.CPU, kinds.CUDA])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert Profile(tmp_path, 1, left=1)._profiler.activities == expected


def test_the_seconds_are_those_between_the_first_step_that_is_looked_at_and_the_last(tmp_path: Path, monkeypatch):
    clock = iter([10.0, 13.0])
    monkeypatch.setattr("steersman.train.profiling.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    steps(Profile(tmp_path, 2, left=3), 3)
    assert (tmp_path / "phases.txt").read_text().startswith("2 steps, 1.5000 s each while profiled")
    clock = iter([10.0, 13.0])
    steps(Profile(tmp_path, 1, left=1), 1)
    assert (tmp_path / "phases.txt").read_text().startswith("1 steps, 3.0000 s each while profiled")


def test_the_table_has_the_dearest_phase_first_and_shares_of_the_whole_time(tmp_path: Path):
    profile = Profile(tmp_path, 4, left=5)
    profile._seen, profile._seconds = 2, 4.0
    events = Averages(
        SimpleNamespace(key=key, count=count, cpu_time_total=seconds * 1e6)
        for key, count, seconds in (("phase: forward", 4, 1.0), ("aten::mm", 99, 9.0), ("phase: update", 2, 3.0))
    )
    assert profile._table(events).splitlines() == [
        "2 steps, 2.0000 s each while profiled (which itself takes time)",
        "",
        "phase                         calls a step  seconds a step   share",
        # 3 of 4 seconds in two steps, called once in each; 1 of 4 seconds, called twice in each
        "update                                 1.0          1.5000     75%",
        "forward                                2.0          0.5000     25%",
        "",
        "A phase's time includes that of the phases within it. The most expensive operations:",
        "",
        "by self_cpu_time_total, 25 rows",
    ]
