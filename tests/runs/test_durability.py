"""What is on the disk before what: a crash of the machine keeps what was promised. Seen through the calls
themselves."""

import os
import shutil
from pathlib import Path

import pytest

from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.folder import atomic_write_bytes, atomic_write_text
from steersman.runs.journal import Journal
from steersman.runs.replies import Replies


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every fsync and rename from now on, with names relative to the test's folder; what is written aside is called
    so."""
    seen: list[str] = []

    def named(path: object) -> str:
        parts = Path(str(path)).relative_to(tmp_path).parts
        return "/".join("aside" if part.startswith(".tmp-") else part for part in parts) or "."

    fsync, replace, rename, rmtree = os.fsync, Path.replace, Path.rename, shutil.rmtree

    def seen_fsync(descriptor: int) -> None:
        seen.append(f"fsync {named(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def seen_rename(path: Path, target: Path) -> Path:
        seen.append(f"rename {named(path)} to {named(target)}")
        return rename(path, target)

    def seen_replace(path: Path, target: Path) -> Path:
        seen.append(f"rename {named(path)} to {named(target)}")
        return replace(path, target)

    def seen_rmtree(path: Path, *given: object, **named_given: object) -> None:
        seen.append(f"remove {named(path)}")
        rmtree(path, *given, **named_given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    monkeypatch.setattr(Path, "rename", seen_rename)
    monkeypatch.setattr(shutil, "rmtree", seen_rmtree)
    return seen


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w")
    (folder / "part").mkdir()
    (folder / "part" / "adapter").write_bytes(b"a")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_afterwards(tmp_path: Path, events: list[str]):
    atomic_write_text(tmp_path / "page", "text")
    assert events == ["fsync aside", "rename aside to page", "fsync ."]


def test_everything_in_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[str]):
    CheckpointStore(tmp_path).write(7, fill, {})
    before = events[: events.index("rename aside to step-000007")]
    assert sorted(before) == [
        "fsync aside",
        "fsync aside/manifest.json",
        "fsync aside/part",
        "fsync aside/part/adapter",
        "fsync aside/weights",
    ]
    assert events[len(before) + 1 :] == ["fsync ."]


def test_a_checkpoint_is_renamed_before_it_is_removed(tmp_path: Path, events: list[str]):
    store = CheckpointStore(tmp_path)
    store.write(7, fill, {})
    store.write(8, fill, {})
    events.clear()
    store.retain(last=1)
    assert events == ["rename step-000007 to aside", "fsync .", "remove aside"]


def test_a_process_killed_while_it_removes_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = CheckpointStore(tmp_path)
    store.write(7, fill, {})
    store.write(8, fill, {})

    def killed(path: Path) -> None:
        (path / "weights").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.discard_after(7)
    monkeypatch.undo()
    again = CheckpointStore(tmp_path)
    assert again.steps() == [7]
    assert len(again.clean()) == 1


def test_a_damaged_checkpoint_is_out_of_the_way_before_its_successor_is_put_there(tmp_path: Path, events: list[str]):
    store = CheckpointStore(tmp_path)
    store.write(7, fill, {})
    (store.path_of(7) / "weights").write_bytes(b"x")
    events.clear()
    store.write(7, fill, {})
    names = [event for event in events if not event.startswith("fsync aside")]
    assert names == ["rename step-000007 to aside", "fsync .", "remove aside", "rename aside to step-000007", "fsync ."]
    assert store.holds(7)


def test_the_best_mark_is_on_the_disk(tmp_path: Path, events: list[str]):
    store = CheckpointStore(tmp_path)
    store.write(7, fill, {})
    events.clear()
    store.mark_best(7, "reward", 1.0)
    assert events == ["fsync aside", "rename aside to best.json", "fsync ."]


def test_going_on_from_a_step_forgets_a_best_mark_after_it_and_keeps_one_at_it(tmp_path: Path):
    store = CheckpointStore(tmp_path)
    for step in (7, 8, 9):
        store.write(step, fill, {})
    store.mark_best(8, "reward", 1.0)
    assert store.discard_after(8) == [9]
    best = store.best()
    assert best is not None
    assert best.step == 8
    assert store.discard_after(7) == [8]
    assert store.best() is None
    assert not (tmp_path / "best.json").exists()


def test_what_a_service_said_is_on_the_disk_when_it_is_kept(tmp_path: Path, events: list[str]):
    Replies(tmp_path).update({"key": {"score": 1}})
    assert events == ["fsync replies-0.jsonl"]


def test_a_journal_is_on_the_disk_when_it_is_synced(tmp_path: Path, events: list[str]):
    with Journal(tmp_path / "journal.jsonl", []) as journal:
        journal.write({"step": 1})
        events.clear()
        journal.sync()
        assert events == ["fsync journal.jsonl"]


def test_a_file_is_whole_when_it_is_synced(tmp_path, monkeypatch):
    """Bytes that Python still holds are not on the disk after fsync."""
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), real(descriptor))[1]
    )
    atomic_write_bytes(tmp_path / "a", b"abc")
    assert synced[0] == 3
