"""A large file is read once per machine, and again as soon as it may have changed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

import steersman.runs.hashes as hashes


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """A file that is large enough to be remembered and was not written just now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "WORTH_STORING", 10)
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    monkeypatch.setattr(hashes, "_in_this_process", {})
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100)
    return file


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    seen: list[Path] = []
    read = hashes.hash_of
    monkeypatch.setattr(hashes, "hash_of", lambda path: (seen.append(path), read(path))[1])
    return seen


def forget() -> None:
    """As a new process would begin."""
    hashes._in_this_process.clear()


def test_another_process_does_not_read_it_again(large, reads):
    expected = hashlib.sha256(b"a" * 100).hexdigest()
    for _ in range(3):
        assert hashes.known_hash(large) == expected
        forget()
    assert len(reads) == 1
    assert hashes.known_hash(large, stored=False) == expected
    assert len(reads) == 2, "stored hashes were not to be used"
    assert hashes.known_hash(large, stored=False) == expected
    assert len(reads) == 2, "this process has read it"


@pytest.mark.parametrize("by", ["size", "time", "inode"])
def test_a_change_is_seen(by, large, reads):
    hashes.known_hash(large)
    times = large.stat()
    if by == "size":
        large.write_bytes(b"a" * 101)
    elif by == "time":
        large.write_bytes(b"b" * 100)
        os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    else:
        other = large.with_name("other")
        other.write_bytes(b"b" * 100)
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
        other.replace(large)
    forget()
    assert hashes.known_hash(large) == hashlib.sha256(large.read_bytes()).hexdigest()
    assert len(reads) == 2


def test_a_file_that_was_written_just_now_is_read_each_time(large, reads, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", 60.0)
    assert hashes.known_hash(large) == hashes.known_hash(large)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sha256": 3}', b"\xff"])
def test_a_damaged_entry_is_as_none(content, large, reads, tmp_path):
    right = hashes.known_hash(large)
    (entry,) = (tmp_path / "cache" / "steersman" / "hashes").iterdir()
    entry.write_bytes(content)
    forget()
    assert hashes.known_hash(large) == right
    assert len(reads) == 2


def test_the_cache_is_optional(large, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "cache", Path("/proc/none")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        forget()
        assert hashes.known_hash(large) == hashlib.sha256(b"a" * 100).hexdigest()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    forget()
    assert hashes.known_hash(large) == hashlib.sha256(b"a" * 100).hexdigest()


def test_only_files_of_8_mb_are_worth_an_entry(tmp_path, reads, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    for size, stored in ((2**23 - 1, 0), (2**23, 1)):
        file = tmp_path / str(size)
        with file.open("wb") as empty:
            empty.truncate(size)
        hashes.known_hash(file)
        assert len(list(tmp_path.glob("cache/steersman/hashes/*"))) == stored


def test_a_file_s_times_tell_of_a_change_after_three_seconds(large, reads, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", 3.0)
    for seconds, read in ((2.9, 2), (3.1, 3)):
        now = large.stat().st_ctime + seconds
        monkeypatch.setattr(hashes.time, "time", lambda now=now: now)
        for _ in range(2):
            hashes.known_hash(large)
        assert len(reads) == read


@pytest.mark.parametrize("digest", ["short", "", None, 3, ["a" * 64]])
def test_an_entry_of_this_very_file_without_a_hash_is_as_none(digest, large, reads, tmp_path):
    right = hashes.known_hash(large)
    (entry,) = (tmp_path / "cache" / "steersman" / "hashes").iterdir()
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "sha256": digest}))
    forget()
    assert hashes.known_hashes([large, large]) == [right, right]
    assert len(reads) in (2, 3)
