"""Runs as their files tell them."""

import json
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import UsageError
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal
from steersman.runs.listing import list_runs, show_run
from steersman.runs.lock import lock_run
from steersman.runs.stamp import MachineFacts, RunIdentity, make_stamp, write_stamp
from steersman.runs.working_time import working_seconds


def make_run(path: Path, started: str = "2026-01-02T03:04:05+00:00", **other: Any) -> RunFolder:
    """A run of three steps that took a minute. 2026-01-02T03:04:05Z is 1767323045 s after the epoch."""
    folder = RunFolder.create_or_open(path)
    folder.recipe_path.write_text('kind = "ppo"\n')
    made = make_stamp(RunIdentity("ppo", {}, {}, {}), MachineFacts(1, "cpu", 1, {}))
    write_stamp(folder.stamp_path, {**made, "started": started, **other})
    with Journal(folder.journal_path) as journal:
        journal.write({"step": 1, "time": 1767323045.0, "loss": 2.0, "win_rate": 0.5})
        journal.write({"step": 3, "time": 1767323105.0, "loss": 1.0, "note": "text", "kl": float("nan")})
    CheckpointStore(folder.checkpoints).write(3, lambda aside: (aside / "a").write_bytes(b"abc"), {})
    return folder


def test_a_run_is_summed_up_from_its_files(tmp_path: Path):
    folder = make_run(tmp_path / "one")
    [run] = list_runs(tmp_path)
    assert (run.name, run.kind, run.state, run.step) == ("one", "ppo", "crashed", 3)
    # Each name's newest value, also of a name that the last row does not have.
    assert run.last == {"loss": 1.0, "win_rate": 0.5, "kl": None}
    assert (run.started, run.seconds, run.problems) == ("2026-01-02T03:04:05+00:00", 60.0, ())
    folder.mark_ended("finished", step=3)
    assert list_runs(tmp_path)[0].state == "finished"
    folder.mark_started()
    folder.mark_ended("stopped", step=3, why="SIGTERM")
    assert list_runs(tmp_path)[0].state == "stopped"


def test_a_run_in_progress_is_running_and_is_not_disturbed(tmp_path: Path):
    folder = make_run(tmp_path / "one")
    with lock_run(folder.path) as lock:
        assert list_runs(tmp_path)[0].state == "running"
        assert lock.held
    assert list_runs(tmp_path)[0].state == "crashed"


def test_a_run_of_members_is_in_the_state_of_its_members(tmp_path: Path):
    folder, member = make_run(tmp_path / "all"), make_run(tmp_path / "all" / "member-1")
    with lock_run(member.path):
        assert list_runs(tmp_path)[0].state == "running"
    assert list_runs(tmp_path)[0].state == "crashed"
    member.mark_ended("stopped", step=3, why="SIGTERM")
    assert list_runs(tmp_path)[0].state == "stopped"
    folder.mark_ended("finished", step=3)
    assert list_runs(tmp_path)[0].state == "finished"


def test_the_time_between_a_stop_and_the_resume_is_not_counted(tmp_path: Path):
    folder = make_run(tmp_path / "one")  # 60 s of work, until 1767323105
    with Journal(folder.journal_path) as journal:
        # An hour later a start writes two notices; the second names the resume. Then 10 s of work.
        journal.write({"step": 3, "time": 1767326705.0, "notice": "a line was damaged"})
        journal.write({"step": 3, "time": 1767326705.5, "notice": "resumed at step 3"})
        journal.write({"step": 4, "time": 1767326715.0, "loss": 0.5})
        # A day later a third one, which was killed before its first step.
        journal.write({"step": 4, "time": 1767413115.0, "notice": "resumed at step 4"})
    assert list_runs(tmp_path)[0].seconds == 60 + 10
    folder.journal_path.write_text('{"step": 0, "time": 1767326645, "notice": "starting over: no checkpoint"}\n')
    assert list_runs(tmp_path)[0].seconds == 0


def test_a_run_without_a_journal_worked_until_its_end(tmp_path: Path):
    folder = make_run(tmp_path / "one")
    folder.journal_path.unlink()
    folder.ending_path.write_text('{"state": "finished", "step": 3, "time": 1767323052.5}')
    [run] = list_runs(tmp_path)
    assert (run.state, run.step, run.seconds) == ("finished", 3, 7.5)


@pytest.mark.parametrize(
    ("victim", "named"),
    [
        ("stamp.json", "stamp.json: unreadable"),
        ("recipe.toml", "recipe.toml: unreadable"),
        ("ending.json", "ending.json: unreadable"),
        ("checkpoints/step-000003/a", "step-000003/a: 1 bytes instead of 3"),
        ("checkpoints/step-000003/manifest.json", "step-000003/manifest.json: unreadable"),
    ],
)
def test_damage_is_seen_and_named(tmp_path: Path, victim: str, named: str):
    folder = make_run(tmp_path / "one")
    folder.mark_ended("finished", step=3)
    (folder.path / victim).write_text("{")
    [run] = list_runs(tmp_path)
    assert run.state == "damaged"
    assert len(run.problems) == 1
    assert named in run.problems[0]


def test_the_newest_run_comes_first_and_other_folders_are_passed_over(tmp_path: Path):
    make_run(tmp_path / "b", started="2026-01-01T00:00:00+00:00")
    make_run(tmp_path / "a", started="2026-03-01T00:00:00+00:00")
    make_run(tmp_path / "c", started="2026-02-01T00:00:00+00:00")
    make_run(tmp_path / "odd", started="yesterday")
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").touch()
    runs = list_runs(tmp_path)
    assert [run.name for run in runs] == ["a", "c", "b", "odd"]
    assert runs[-1].seconds is None
    assert list_runs(tmp_path / "none") == []


def test_a_run_that_has_not_begun_has_nothing_to_show(tmp_path: Path):
    folder = RunFolder.create_or_open(tmp_path / "new")
    folder.recipe_path.write_text("")
    summary, tail = show_run(folder.path)
    assert (summary.kind, summary.state, summary.step, summary.last, summary.seconds) == ("", "crashed", 0, {}, None)
    assert tail == []


def test_showing_a_run_gives_its_last_rows_and_every_damaged_line(tmp_path: Path):
    folder = make_run(tmp_path / "one")
    summary, tail = show_run(folder.path)
    assert [row["step"] for row in tail] == [1, 3]
    assert summary.state == "crashed"
    with folder.journal_path.open("ab") as file:
        file.write(b"rot\n")
    summary, tail = show_run(folder.path)
    assert summary.state == "damaged"
    assert summary.problems == (f"{folder.journal_path}:3: not a journal row",)
    with pytest.raises(UsageError, match="is not a run"):
        show_run(tmp_path)


def test_listing_changes_no_file(tmp_path: Path):
    make_run(tmp_path / "one")
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    list_runs(tmp_path)
    show_run(tmp_path / "one")
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_the_last_20_rows_are_shown(tmp_path: Path):
    folder = make_run(tmp_path / "one")
    with Journal(folder.journal_path) as journal:
        for step in range(4, 30):
            journal.write({"step": step, "time": 1767323105.0})
    _, tail = show_run(folder.path)
    assert [row["step"] for row in tail] == list(range(10, 30))


def row(time: float, notice: str | None = None) -> str:
    return json.dumps({"step": 1, "time": time, **({} if notice is None else {"notice": notice})}) + "\n"


@pytest.mark.parametrize(("before", "worked"), [(0.5, 150.5), (1.0, 151.0), (1.5, 248.5)])
def test_notices_of_a_second_before_a_resume_belong_to_it(tmp_path: Path, before: float, worked: float):
    # 100 s of work, a start at 1200 s that wrote another notice just before, and 50 s of work; a notice of 1.5 s
    # earlier is of the process before, which was at work until then
    path = tmp_path / "journal.jsonl"
    path.write_text(
        row(1100.0) + row(1200.0 - before, "a line was damaged") + row(1200.0, "resumed at step 1") + row(1250.0)
    )
    assert working_seconds(path, 1000.0, 1250.0) == pytest.approx(worked)


def test_what_is_no_row_and_a_clock_that_was_set_back_are_no_idle_time(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.write_text("rot\n[1]\n" + '{"step": 1}\n' + row(1100.0) + row(1050.0, "resumed at step 1"))
    assert working_seconds(path, 1000.0, 1200.0) == 200.0
    assert working_seconds(path, 1000.0, 900.0) == 0.0


def test_listing_reads_no_contents_of_checkpoints(tmp_path: Path):
    """A list of a hundred runs takes a moment; contents are verified when a run is resumed."""
    folder = make_run(tmp_path / "one")
    folder.mark_ended("finished", step=3)
    (folder.checkpoints / "step-000003" / "a").write_bytes(b"abd")
    [run] = list_runs(tmp_path)
    assert (run.state, run.problems) == ("finished", ())
