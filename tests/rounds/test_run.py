"""Running a graph: what runs, what does not run twice, and what is left after a kill or a failure."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_commands import Commands, write_recipe

from steersman.errors import DataError, Preempted, RunLocked, UsageError
from steersman.rounds.clean import clean, unused
from steersman.rounds.graph import Graph
from steersman.rounds.progress import differences_of, progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.records import Records
from steersman.rounds.run import GraphResult, Manner, run_graph
from steersman.runs.lock import lock_run


def run(tmp_path: Path, *overrides: str, commands: Commands | None = None) -> tuple[GraphResult, Commands]:
    commands = commands or Commands()
    return run_graph(read_graph(write_recipe(tmp_path), list(overrides), commands)), commands


def graph_of(tmp_path: Path, *overrides: str, commands: Commands | None = None) -> Graph:
    return read_graph(write_recipe(tmp_path), list(overrides), commands or Commands())


def test_each_stage_reads_the_output_of_those_it_names(tmp_path):
    result, _ = run(tmp_path)
    assert Path(result.outputs["second"]).read_text() == "onetwo"
    assert (Path(result.outputs["model"]) / "weights").read_text() == "onetwo" * 2 + "7"


def test_a_second_run_runs_nothing(tmp_path):
    first, _ = run(tmp_path)
    again, commands = run(tmp_path)
    assert again.ran == ()
    assert commands.ran == []
    assert again.outputs == first.outputs


def test_a_changed_setting_runs_its_stage_and_what_follows_and_nothing_else(tmp_path):
    run(tmp_path)
    again, commands = run(tmp_path, "second.text=other")
    assert again.ran == ("second", "model")
    assert commands.write.ran == ["other"]
    back, commands = run(tmp_path)
    assert back.ran == ()
    assert commands.ran == []


def test_why_a_stage_would_run_is_said(tmp_path):
    commands = Commands()
    assert {one.reasons for one in progress_of(graph_of(tmp_path))} == {("it has not run yet",)}
    run(tmp_path)
    commands.train.version = 2
    said = {one.name: one.reasons for one in progress_of(graph_of(tmp_path, "second.text=other", commands=commands))}
    assert said["first"] == said["apart"] == ()
    assert said["second"] == ("text was 'two' and is now 'other'",)
    assert said["model"] == (
        "the command train gives other results since version 2 of it",
        "second gives another output",
    )


def test_how_two_graphs_differ_is_said(tmp_path):
    found = differences_of(graph_of(tmp_path), graph_of(tmp_path, "apart.text=z"))
    assert found == {"apart": ["text was 'apart' and is now 'z'"]}


def test_an_output_that_was_deleted_is_made_again(tmp_path):
    result, _ = run(tmp_path)
    Path(result.outputs["apart"]).unlink()
    again, _ = run(tmp_path)
    assert again.ran == ("apart",)


def test_a_failure_is_kept_and_the_same_call_goes_on_from_there(tmp_path):
    commands = Commands()
    fails = [True]
    real = commands.train.run

    def failing(settings: object, **more: object) -> None:
        if fails[0]:
            raise DataError("no rows in the file")
        real(settings, **more)

    commands.train.run = failing
    with pytest.raises(DataError, match="no rows"):
        run(tmp_path, commands=commands)
    model = next(one for one in progress_of(graph_of(tmp_path)) if one.name == "model")
    assert model.record is not None
    assert (model.record.state, model.record.why) == ("failed", "no rows in the file")
    fails[0] = False
    again, _ = run(tmp_path, commands=commands)
    assert again.ran == ("model", "apart")


def test_a_stage_that_writes_nothing_is_a_failure(tmp_path):
    commands = Commands()
    commands.write.run = lambda settings, **more: None
    with pytest.raises(Exception, match="ended without writing"):
        run(tmp_path, commands=commands)


def test_a_stage_that_was_stopped_is_not_done(tmp_path):
    commands = Commands()

    def stopped(settings: object, **more: object) -> None:
        raise Preempted("saved")

    commands.write.run = stopped
    with pytest.raises(Preempted):
        run(tmp_path, commands=commands)
    first = progress_of(graph_of(tmp_path))[0]
    assert first.record is not None
    assert first.record.state == "stopped"
    assert first.standing != "done"


def test_a_second_process_is_refused(tmp_path):
    graph = graph_of(tmp_path)
    with lock_run(graph.out), pytest.raises(RunLocked, match="has been working in"):
        # a lock of another open file, as another process has it
        run_graph(graph)


def test_clean_deletes_what_the_recipe_does_not_use_and_nothing_else(tmp_path):
    run(tmp_path)
    old, _ = run(tmp_path, "second.text=other")
    kept = tmp_path / "out" / "notes.txt"
    kept.write_text("mine")
    graph = graph_of(tmp_path)
    assert sorted(one.record.stage for one in unused(graph)) == ["model", "second"]
    clean(graph)
    assert not Path(old.outputs["second"]).exists()
    assert not Path(old.outputs["model"]).exists()
    assert kept.exists()
    assert run(tmp_path)[0].ran == ()
    assert unused(graph) == []


def test_clean_never_leaves_the_folder(tmp_path):
    run(tmp_path)
    outside = tmp_path / "precious"
    outside.mkdir()
    records = Records(tmp_path / "out")
    record = records.of("apart")[0]
    forged = type(record)(
        **{**{f: getattr(record, f) for f in record.__slots__}, "hash": "0" * 12, "output": "../precious"}
    )
    records.write(forged)
    assert unused(graph_of(tmp_path)) == []
    assert outside.is_dir()


def test_several_jobs_want_processes(tmp_path):
    with pytest.raises(UsageError, match="launch=subprocess"):
        run_graph(graph_of(tmp_path), Manner(jobs=2))


PROGRAM = """
import sys
from small_commands import Commands, write_recipe
from pathlib import Path
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import run_graph
folder = Path(sys.argv[1])
names = ["first", "second", "apart"]
run_graph(read_graph(folder / "recipe.toml", [f"{name}.pause=0.05" for name in names], Commands()))
"""


def test_killed_anywhere_the_same_call_gives_the_same_outputs(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_recipe(folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", PROGRAM, str(whole)], env=environment, check=True)
    moments = random.Random(3)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(killed)], env=environment)
        deadline = time.monotonic() + 60
        while not (killed / "out" / "stages").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", PROGRAM, str(killed)], env=environment, check=True)
    assert outputs_in(killed) == outputs_in(whole)


def outputs_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "out").rglob("*") if path.is_file() and "stages" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != ".lock"}
