"""What a service has answered outlives the process, line by line."""

import json
import os
from pathlib import Path

import pytest

from steersman.errors import SteersmanError
from steersman.runs.journal import Journal
from steersman.runs.replies import Replies


def test_a_reply_is_known_again_by_every_process(tmp_path: Path):
    first = Replies(tmp_path / "deep" / "folder")
    first.update({"a": {"score": 1.0}, "b": {"score": 2.0, "note": "é"}})
    assert (len(first), first.get("a"), first.get("c")) == (2, {"score": 1.0}, None)
    other = Replies(tmp_path / "deep" / "folder", 1)
    assert (len(other), other.get("b")) == (2, {"score": 2.0, "note": "é"})
    other.update({"c": {"score": 3.0}})
    assert sorted(path.name for path in (tmp_path / "deep" / "folder").iterdir()) == [
        "replies-0.jsonl",
        "replies-1.jsonl",
    ]
    assert len(Replies(tmp_path / "deep" / "folder")) == 3


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch):
    """A disk that takes three bytes at a time."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))


def test_a_reply_that_the_disk_takes_in_pieces_is_whole(tmp_path: Path, slow_disk: None):
    Replies(tmp_path).update({"key": {"score": 1.5}, "other": {"score": 2.5}})
    lines = (tmp_path / "replies-0.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "key", "score": 1.5}, {"key": "other", "score": 2.5}]


def test_a_row_of_the_journal_that_the_disk_takes_in_pieces_is_whole(tmp_path: Path, slow_disk: None):
    with Journal(tmp_path / "journal.jsonl", clock=lambda: 5.0) as journal:
        journal.write({"step": 1, "loss": 0.25})
    assert json.loads((tmp_path / "journal.jsonl").read_text()) == {"step": 1, "time": 5.0, "loss": 0.25}


@pytest.mark.parametrize("torn", [b'{"key": "b", "sc', b"\x00\xff", b"[1]", b'{"score": 2}', b"3"])
def test_what_a_kill_left_half_written_is_forgotten_and_swallows_nothing(tmp_path: Path, torn: bytes):
    path = tmp_path / "replies-0.jsonl"
    path.write_bytes(b'{"key": "a", "score": 1}\n' + torn)
    again = Replies(tmp_path)
    assert again.get("a") == {"score": 1}
    assert len(again) == 1
    again.update({"c": {"score": 3}})
    found = Replies(tmp_path)
    assert (found.get("a"), found.get("c")) == ({"score": 1}, {"score": 3})
    assert path.read_bytes().endswith(torn + b'\n{"key": "c", "score": 3}\n')


def test_a_whole_last_line_gets_no_blank_one_after_it(tmp_path: Path):
    for number in range(3):
        Replies(tmp_path).update({str(number): {"score": number}})
    assert (tmp_path / "replies-0.jsonl").read_text().count("\n") == 3


def test_a_full_disk_leaves_the_file_as_it_was_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = Replies(tmp_path)
    kept.update({"a": {"score": 1}})
    before = (tmp_path / "replies-0.jsonl").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    # the file's size and the new line's, which is 25 characters
    with pytest.raises(SteersmanError, match=rf"needs {len(before) + 25} bytes"):
        kept.update({"b": {"score": 2}})
    assert (tmp_path / "replies-0.jsonl").read_bytes() == before
    assert kept.get("b") is None, "what is not on the disk is not known"
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_what_is_no_json_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Replies(tmp_path).update({"a": {"score": float("nan")}})


def test_a_reply_is_on_the_disk_before_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept, seen = Replies(tmp_path), list[tuple[str, int]]()
    sync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink().read_text(), len(kept)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    kept.update({"a": {"score": 1}})
    assert seen == [('{"key": "a", "score": 1}\n', 0)]
    assert len(kept) == 1
