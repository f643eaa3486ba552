"""A run needs no cache and no home folder."""

import os
from pathlib import Path

import pytest
from forked import run_command

from steersman.runs import caches
from steersman.runs.caches import cache_folder, move_unwritable_caches


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The variables of caches are unset, and put back afterwards."""
    for name in ("XDG_CACHE_HOME", *caches.OTHERS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(tmp_path))
    return monkeypatch


def test_a_home_that_can_be_written_keeps_its_caches(environment, tmp_path):
    environment.setenv("HOME", str(tmp_path / "home-to-be"))
    assert move_unwritable_caches() == ""
    assert "XDG_CACHE_HOME" not in os.environ
    assert cache_folder() == tmp_path / "home-to-be" / ".cache" / "steersman"


def test_caches_of_a_home_that_cannot_be_written_are_moved_for_libraries_too(environment, tmp_path):
    environment.setenv("HOME", "/dev/null/home")
    environment.setenv("TRITON_CACHE_DIR", "/chosen")
    words = move_unwritable_caches()
    there = tmp_path / f"steersman-cache-{os.getuid()}"
    assert f"are in {there}, because /dev/null/home/.cache cannot be written" in words
    assert there.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == there / "steersman"
    assert os.environ["TRITON_CACHE_DIR"] == "/chosen"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(there / "inductor")
    assert move_unwritable_caches() == ""


def test_the_same_folder_is_used_each_time(environment, tmp_path):
    environment.setenv("HOME", "/dev/null/home")
    first = move_unwritable_caches()
    for name in ("XDG_CACHE_HOME", *caches.OTHERS):
        environment.delenv(name)
    assert move_unwritable_caches() == first
    assert [path.name for path in tmp_path.iterdir()] == [f"steersman-cache-{os.getuid()}"]


def test_somebody_elses_link_is_not_followed(environment, tmp_path):
    environment.setenv("HOME", "/dev/null/home")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"steersman-cache-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    move_unwritable_caches()
    assert Path(os.environ["XDG_CACHE_HOME"]).name.startswith("steersman-cache-")
    assert not Path(os.environ["XDG_CACHE_HOME"]).is_symlink()


def test_without_any_home_there_is_no_folder(environment):
    environment.setattr(caches.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder() is None
    assert "there is no home folder" in move_unwritable_caches()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_training_goes_on_without_a_home(tmp_path, processes):
    rows = '{"prompt": "Say a.", "completion": "a"}\n{"prompt": "Say b.", "completion": "b"}\n' * 10
    (tmp_path / "rows.jsonl").write_text(rows)
    words = ["sft", "--model", "tiny:llama", "--data", "rows.jsonl", "--out", "run", "train.steps=1"]
    nowhere = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": ""}
    done = run_command(words, processes=processes, cwd=tmp_path, environment=nowhere)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("because /dev/null/home/.cache cannot be written") == 1
