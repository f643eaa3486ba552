"""The run's folder, and writing whole files."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.errors import SteersmanError, UsageError
from steersman.runs.folder import RunFolder, atomic_write_bytes, atomic_write_text, free_bytes


def test_a_new_folder_is_made_and_opened_again(tmp_path: Path):
    folder = RunFolder.create_or_open(tmp_path / "runs" / "one")
    assert folder.samples.is_dir()
    assert folder.checkpoints.is_dir()
    assert not folder.is_run
    # Killed before its first file: the same command must work again, with the lock it left.
    (folder.path / ".lock").touch()
    (folder.path / ".tmp-recipe.toml-1-ab").touch()
    assert RunFolder.create_or_open(folder.path) == folder
    folder.recipe_path.write_text("")
    folder.model.mkdir()
    assert RunFolder.create_or_open(folder.path).is_run
    assert not [p for p in folder.path.iterdir() if p.name.startswith(".tmp-probe")]


def test_every_name_lies_inside_the_folder(tmp_path: Path):
    folder = RunFolder(tmp_path)
    paths = [folder.recipe_path, folder.journal_path, folder.stamp_path, folder.samples, folder.checkpoints]
    paths += [folder.model, folder.quarantine_path, folder.ending_path]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(paths)


def test_a_file_is_no_run(tmp_path: Path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.create_or_open(tmp_path / "notes")
    with pytest.raises(UsageError, match="cannot be used"):
        RunFolder.create_or_open(tmp_path / "notes" / "below")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(UsageError, match=r"'photo\.jpg'.*not a run"):
        RunFolder.create_or_open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]
    other = tmp_path / "other"
    (other / "samples").mkdir(parents=True)
    (other / "samples" / "voice.wav").touch()
    with pytest.raises(UsageError, match="'samples'"):
        RunFolder.create_or_open(other)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that we may read and not write; as root by becoming nobody for a moment."""
    root = Path(tempfile.mkdtemp())
    (root / "theirs").mkdir(mode=0o555)
    root.chmod(0o755)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield root / "theirs"
    os.seteuid(before)
    (root / "theirs").chmod(0o755)
    shutil.rmtree(root)


def test_a_folder_that_cannot_be_written_is_named(unprivileged: Path):
    with pytest.raises(UsageError, match="Permission denied"):
        RunFolder.create_or_open(unprivileged)
    with pytest.raises(UsageError, match="Permission denied"):
        RunFolder.create_or_open(unprivileged / "new")


def test_an_atomic_write_replaces_the_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "page.txt"
    atomic_write_text(path, "first")
    atomic_write_bytes(path, b"second")
    assert path.read_text() == "second"

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SteersmanError, match=r"page\.txt could not be written: No space left.*5 bytes"):
        atomic_write_text(path, "third")
    assert path.read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["page.txt"]


def test_other_errors_of_writing_fall_through(tmp_path: Path):
    (tmp_path / "page").mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write_text(tmp_path / "page", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["page"]


def test_free_bytes_are_known_before_the_folder_is_made(tmp_path: Path):
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_an_ending_is_forgotten_when_the_run_goes_on(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.mark_ended("stopped", step=3, why="SIGTERM")
    assert '"why": "SIGTERM"' in folder.ending_path.read_text()
    folder.mark_started()
    folder.mark_started()
    assert not folder.ending_path.exists()
    with pytest.raises(UsageError, match="finished, stopped; seen 'done'"):
        folder.mark_ended("done", step=3)


def test_an_ending_can_be_read_by_people_and_says_when(tmp_path: Path):
    before = time.time()
    RunFolder(tmp_path).mark_ended("finished", step=3)
    text = (tmp_path / "ending.json").read_text()
    assert text.splitlines()[:4] == ["{", '  "state": "finished",', '  "step": 3,', '  "why": "",']
    assert text.endswith("}\n")
    assert before <= json.loads(text)["time"] <= time.time()


def test_what_an_atomic_write_leaves_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append("folder" if name == tmp_path else name.read_text())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    atomic_write_text(tmp_path / "page.txt", "whole")
    assert flushed == ["whole", "folder"], "its content first, then its name"
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
