"""Checkpoints under damage, kills and full disks: all of it real, only the files are small."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import CheckpointError
from steersman.runs import manifest
from steersman.runs.checkpoints import Best, CheckpointStore
from steersman.runs.manifest import MANIFEST, make_manifest, parse, read_manifest, render

FACTS = {"kind": "ppo", "reward": 0.5, "name": "é 100 %", "seeds": [1, 2]}


def fill_with(seed: int) -> Callable[[Path], None]:
    """Three small files, one in a folder of its own and one empty."""

    def fill(folder: Path) -> None:
        source = random.Random(seed)
        (folder / "weights.bin").write_bytes(source.randbytes(300))
        (folder / "policy").mkdir()
        (folder / "policy" / "adapter.bin").write_bytes(source.randbytes(40))
        (folder / "empty").touch()

    return fill


def make_store(folder: Path, *steps: int) -> tuple[CheckpointStore, list[str]]:
    messages: list[str] = []
    store = CheckpointStore(folder, messages.append)
    for step in steps:
        store.write(step, fill_with(step), FACTS)
    return store, messages


def flip_a_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)


def test_what_was_written_is_found_again(tmp_path: Path):
    store, messages = make_store(tmp_path / "checkpoints", 5, 10)
    assert store.steps() == [5, 10]
    found = store.latest()
    assert found is not None
    assert (found.step, found.path.name, dict(found.facts)) == (10, "step-000010", FACTS)
    assert (found.path / "weights.bin").read_bytes() == random.Random(10).randbytes(300)
    assert messages == []
    assert store.holds(5)
    assert not store.holds(6)
    assert list(read_manifest(found.path)["files"]) == ["empty", "policy/adapter.bin", "weights.bin"]


def test_steps_are_ordered_as_numbers(tmp_path: Path):
    store, _ = make_store(tmp_path, 999_999, 1_000_000)
    found = store.latest()
    assert found is not None
    assert found.step == 1_000_000


def test_there_is_no_latest_of_nothing(tmp_path: Path):
    assert CheckpointStore(tmp_path / "none").latest() is None
    assert CheckpointStore(tmp_path / "none").clean() == []
    assert CheckpointStore(tmp_path / "none").retain(last=1) == []


def damage(folder: Path, source: random.Random) -> str:
    """One random fault in a checkpoint; returns the name of the file that has it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    path = source.choice([path for path in files if path.stat().st_size])
    size = path.stat().st_size
    fault = source.choice(["flip", "flip", "truncate", "zero the tail", "delete", "append", "extra"])
    if fault == "flip":
        flip_a_bit(path, source.randrange(size * 8))
    elif fault == "truncate":
        os.truncate(path, source.randrange(size))
    elif fault == "zero the tail":
        keep = source.randrange(size - 8)  # eight random bytes are not all zero already
        os.truncate(path, keep)
        os.truncate(path, size)
    elif fault == "delete":
        path = source.choice(files)
        path.unlink()
    elif fault == "append":
        with path.open("ab") as file:
            file.write(b"\0")
    else:
        path = path.with_name("stray")
        path.touch()
    return path.relative_to(folder).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("faults", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_random_faults_are_all_found_and_named(tmp_path: Path, faults: int):
    make_store(tmp_path / "good", 100, 120)
    for seed in range(faults):
        source = random.Random(seed)
        shutil.copytree(tmp_path / "good", tmp_path / "run")
        name = damage(tmp_path / "run" / "step-000120", source)
        messages: list[str] = []
        found = CheckpointStore(tmp_path / "run", messages.append).latest()
        assert found is not None, seed
        assert found.step == 100, f"seed {seed}: damage in {name} went unseen"
        assert len(messages) == 1
        assert f"{name}: " in messages[0], f"seed {seed}: {messages[0]}"
        assert "step-000120 is damaged" in messages[0]
        assert "Using step-000100 instead" in messages[0]
        shutil.rmtree(tmp_path / "run")


def every_flip(content: bytes) -> Iterator[bytes]:
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        yield bytes(flipped)


def test_every_single_bit_of_a_manifest_is_guarded(tmp_path: Path):
    store, _ = make_store(tmp_path, 7)
    whole = (store.path_of(7) / MANIFEST).read_bytes()
    assert parse(whole)["step"] == 7
    assert b"\\u00e9" in whole  # with a capital E, one bit away, it would mean the same
    for flipped in every_flip(whole):
        with pytest.raises(ValueError, match=r"^(unreadable|altered)"):
            parse(flipped)


def test_several_damaged_files_are_all_named(tmp_path: Path):
    store, messages = make_store(tmp_path, 1, 2, 3)
    flip_a_bit(store.path_of(3) / "weights.bin", 77)
    (store.path_of(3) / "empty").unlink()
    os.truncate(store.path_of(2) / "policy" / "adapter.bin", 10)
    found = store.latest()
    assert found is not None
    assert found.step == 1
    assert len(messages) == 2
    assert "empty: missing; weights.bin: contents altered" in messages[0]
    assert "policy/adapter.bin: 10 bytes instead of 40" in messages[1]


def test_when_all_are_damaged_it_says_which_and_what_to_do(tmp_path: Path):
    store, messages = make_store(tmp_path, 1, 2)
    for step in (1, 2):
        flip_a_bit(store.path_of(step) / "weights.bin", 5)
    with pytest.raises(
        CheckpointError, match=r"step-000002 is damaged.*step-000001 is damaged.*Restore one from a backup"
    ):
        store.latest()
    assert messages == []


def test_a_checkpoint_moved_to_another_step_is_not_taken_for_it(tmp_path: Path):
    store, _ = make_store(tmp_path, 1, 2)
    store.path_of(2).rename(store.path_of(9))
    assert store.verify(store.path_of(9)) == [f"{MANIFEST}: belongs to step 2, not 9"]
    assert store.verify(tmp_path / "somewhere") == ["somewhere: not a checkpoint folder"]


def test_a_manifest_of_another_format_is_refused(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)
    (store.path_of(1) / MANIFEST).write_bytes(render({"format": 99, "step": 1, "facts": {}, "files": {}}))
    assert store.verify(store.path_of(1)) == [f"{MANIFEST}: format 99; this version of Steersman reads 1"]


def test_without_memory_for_threads_files_are_hashed_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    before = make_manifest(tmp_path, 1, {})

    def refuse(count: int) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(manifest, "ThreadPoolExecutor", refuse)
    assert make_manifest(tmp_path, 1, {}) == before


def test_a_manifest_that_cannot_be_opened_is_damage(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)
    (store.path_of(1) / MANIFEST).unlink()
    assert store.verify(store.path_of(1)) == [f"{MANIFEST}: missing"]
    (store.path_of(1) / MANIFEST).mkdir()
    assert f"{MANIFEST}: unreadable" in store.verify(store.path_of(1))[0]


def test_a_file_that_the_disk_cannot_read_back_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, _ = make_store(tmp_path, 1)

    def fail(file: Any, name: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", fail)
    assert "weights.bin: contents altered" in store.verify(store.path_of(1))


def test_after_falling_back_the_damaged_step_is_written_again(tmp_path: Path):
    store, _ = make_store(tmp_path, 100, 120)
    flip_a_bit(store.path_of(120) / "weights.bin", 5)
    resumed, messages = make_store(tmp_path)
    found = resumed.latest()
    assert found is not None
    assert found.step == 100
    assert len(messages) == 1
    resumed.write(120, fill_with(120), FACTS)
    again = resumed.latest()
    assert again is not None
    assert again.step == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000100", "step-000120"]


def test_a_good_checkpoint_is_written_once(tmp_path: Path):
    store, _ = make_store(tmp_path, 1, 2)
    with pytest.raises(CheckpointError, match="written only once"):
        store.write(1, fill_with(8), FACTS)
    store.mark_best(2, "reward", 1.0)
    assert store.discard_after(1) == [2]
    assert store.best() is None
    store.write(2, fill_with(8), FACTS)
    assert store.steps() == [1, 2]


def test_a_failing_fill_leaves_nothing(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)

    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(2, fail, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_what_cannot_be_promised_is_refused(tmp_path: Path):
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="that name is reserved"):
        store.write(1, lambda folder: (folder / MANIFEST).touch(), {})
    with pytest.raises(CheckpointError, match="link or a device"):
        store.write(1, lambda folder: (folder / "weights").symlink_to(tmp_path), {})
    with pytest.raises(CheckpointError, match="written as JSON"):
        store.write(1, fill_with(1), {"kl": float("nan")})
    with pytest.raises(CheckpointError, match="written as JSON"):
        store.write(1, fill_with(1), {"policy": tmp_path})
    assert list(tmp_path.iterdir()) == []
    store.write(1, fill_with(1), {})
    (store.path_of(1) / "link").symlink_to("weights.bin")
    assert "is a link" in store.verify(store.path_of(1))[0]


def test_a_disk_known_to_be_too_small_is_refused_before_writing(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)
    called: list[Path] = []
    with pytest.raises(
        CheckpointError, match=r"step-000002: it needs about 1,000,000,000,000,000,000 bytes, [\d,]+ are free"
    ):
        store.write(2, called.append, FACTS, expected_bytes=10**18)
    assert called == []
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_device_that_is_full_leaves_the_previous_checkpoint(tmp_path: Path):
    store, messages = make_store(tmp_path, 1)

    def fill(folder: Path) -> None:
        (folder / "part").write_bytes(b"x" * 123)
        with open("/dev/full", "wb") as device:  # noqa: PTH123
            device.write(b"x")

    with pytest.raises(
        CheckpointError, match=r"step-000002 \(.*No space left.*needs about 5,000 bytes.*same command again"
    ):
        store.write(2, fill, FACTS, expected_bytes=5000)
    found = store.latest()
    assert found is not None
    assert (found.step, messages) == (1, [])
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_without_an_estimate_the_newest_checkpoint_tells_what_is_needed(tmp_path: Path):
    store = CheckpointStore(tmp_path)
    store.write(1, lambda folder: (folder / "weights.bin").write_bytes(b"x" * 70_000), {})

    def fill(folder: Path) -> None:
        raise ValueError("I/O error: No space left on device (os error 28)")

    with pytest.raises(CheckpointError, match=r"needs about 70,\d\d\d bytes") as full:
        store.write(2, fill, {})
    assert isinstance(full.value.__cause__, ValueError)


def test_a_file_size_limit_leaves_the_previous_checkpoint(tmp_path: Path, start_program: Any):
    """EFBIG, from the system and as safetensors says it, in a process that may write 4,000 bytes a file."""
    program = start_program(
        """
        import resource, sys
        from pathlib import Path
        import numpy
        from safetensors.numpy import save_file
        from steersman.errors import CheckpointError
        from steersman.runs.checkpoints import CheckpointStore
        store = CheckpointStore(Path(sys.argv[1]))
        store.write(1, lambda folder: (folder / "a").write_bytes(b"x" * 3000), {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        def plain(folder):
            (folder / "a").write_bytes(b"x" * 9000)
        def tensors(folder):
            save_file({"a": numpy.zeros(9000)}, folder / "a.safetensors")
        for fill in (plain, tensors):
            try:
                store.write(2, fill, {}, expected_bytes=9000)
            except CheckpointError as error:
                print(error)
        """,
        tmp_path,
    )
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) == 2, out
    for line in lines:
        assert "File too large" in line
        assert str(tmp_path / "step-000002") in line
        assert "9,000 bytes" in line
    found = CheckpointStore(tmp_path).latest()
    assert found is not None
    assert found.step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


WRITE_FOR_EVER = """
import os, sys
from pathlib import Path
from steersman.runs.checkpoints import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]))
store.clean()
found = store.latest()
step = found.step if found else 0
def fill(folder):
    for name in "abc":
        (folder / name).write_bytes(os.urandom(200_000))
while True:
    step += 1
    store.write(step, fill, {"step": step})
    print(step, flush=True)
    store.retain(last=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_kills_lose_no_acknowledged_checkpoint(tmp_path: Path, start_program: Any, kills: int):
    source = random.Random(0)
    acknowledged = leftovers = 0
    for _ in range(kills):
        writer = start_program(WRITE_FOR_EVER, tmp_path)
        assert writer.stdout.readline()
        time.sleep(source.uniform(0, 0.06))
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged + 1
        messages: list[str] = []
        store = CheckpointStore(tmp_path, messages.append)
        found = store.latest()
        assert found is not None
        assert found.step >= acknowledged
        assert messages == []
        assert all(store.verify(store.path_of(step)) == [] for step in store.steps())
        leftovers += len(store.clean())
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]
    # Proof that the kills came in the middle of things and not between them.
    assert leftovers > 0


def test_leftovers_of_killed_processes_are_cleaned(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)
    (tmp_path / ".tmp-step-000002-1-ab").mkdir()
    (tmp_path / ".tmp-step-000002-1-ab" / "half").touch()
    (tmp_path / ".tmp-best.json-1-ab").touch()
    assert store.steps() == [1]
    assert store.clean() == [".tmp-best.json-1-ab", ".tmp-step-000002-1-ab"]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_retention_keeps_the_last_the_milestones_and_the_best(tmp_path: Path):
    store, _ = make_store(tmp_path, *range(10, 101, 10))
    store.mark_best(20, "reward", 1.5)
    assert store.retain(last=2, every=40) == [10, 30, 50, 60, 70]
    assert store.steps() == [20, 40, 80, 90, 100]
    assert store.retain(last=1, best=40) == [20, 80, 90]
    with pytest.raises(CheckpointError, match="at least one"):
        store.retain(last=0)


def test_retention_never_trades_a_good_checkpoint_for_a_damaged_one(tmp_path: Path):
    store, _ = make_store(tmp_path, 1, 2, 3)
    flip_a_bit(store.path_of(3) / "weights.bin", 9)
    # A new process, which has not looked yet: 3 is damaged, so 2 is the newest good one and stays.
    resumed, messages = make_store(tmp_path)
    assert resumed.retain(last=1) == [1]
    assert len(messages) == 1
    assert resumed.steps() == [2, 3]
    resumed.write(4, fill_with(4), FACTS)
    # Now that a newer good one is there, the damaged one counts for nothing.
    assert resumed.retain(last=2) == [3]
    assert resumed.steps() == [2, 4]


def test_the_best_mark_is_durable_and_guarded(tmp_path: Path):
    store, _ = make_store(tmp_path, 1)
    assert store.best() is None
    store.mark_best(1, "win rate", 0.625)
    again, messages = make_store(tmp_path)
    assert again.best() == Best(1, "win rate", 0.625)
    with pytest.raises(CheckpointError, match="its reward is nan"):
        store.mark_best(1, "reward", float("nan"))
    flip_a_bit(tmp_path / "best.json", 100)
    assert again.best() is None
    assert len(messages) == 1
    assert "best.json is damaged" in messages[0]


def test_a_manifest_does_not_depend_on_the_order_of_facts(tmp_path: Path):
    fill_with(1)(tmp_path)
    assert make_manifest(tmp_path, 1, {"a": 1, "b": 2}) == make_manifest(tmp_path, 1, {"b": 2, "a": 1})
    assert json.loads(make_manifest(tmp_path, 1, {}))["files"]["empty"]["size"] == 0


def test_a_damaged_checkpoint_that_was_written_again_counts_as_a_good_one(tmp_path: Path):
    make_store(tmp_path, 1, 2)
    flip_a_bit(tmp_path / "step-000002" / "weights.bin", 9)
    resumed, _ = make_store(tmp_path)
    found = resumed.latest()
    assert found is not None
    assert found.step == 1
    resumed.write(2, fill_with(2), FACTS)
    resumed.write(3, fill_with(3), FACTS)
    assert resumed.retain(last=2) == [1]
    assert resumed.steps() == [2, 3]
