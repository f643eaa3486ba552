"""The journal: rows in, rows out, through kills, cuts and numbers that are none."""

import io
import json
import math
import os
import signal
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import SteersmanError, UsageError
from steersman.runs.journal import (
    Journal,
    continues,
    last_rows,
    malformed_lines,
    read_rows,
    truncate_lines,
)
from steersman.runs.old_names import under_new_names


def write_steps(path: Path, *steps: int, clock: float = 1.0) -> None:
    with Journal(path, clock=lambda: clock) as journal:
        for step in steps:
            journal.write({"step": step, "loss": step / 2})


def test_a_row_is_one_json_line(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    with Journal(path, clock=lambda: 12.5) as journal:
        journal.write({"loss": 0.25, "step": 3, "note": "größer", "tokens": 7, "margin": None, "done": True})
        journal.write({"step": 4, "time": 99})
    assert path.read_text().splitlines() == [
        '{"step": 3, "time": 12.5, "loss": 0.25, "note": "gr\\u00f6\\u00dfer", "tokens": 7, "margin": null, '
        '"done": true}',
        '{"step": 4, "time": 99.0}',
    ]
    journal.close()


def test_a_row_is_on_disk_before_the_journal_is_closed(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write({"step": 1})
    journal.sync()
    assert [row["step"] for row in read_rows(journal.path)[0]] == [1]
    journal.close()


def test_numbers_that_are_none_stay_valid_json_and_are_named(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write({"step": 1, "loss": math.nan, "kl": math.inf, "reward": -math.inf, "entropy": 1.0})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    row = json.loads(path.read_text(), parse_constant=refuse)
    assert (row["loss"], row["kl"], row["reward"], row["entropy"]) == (None, None, None, 1.0)
    assert row["not_finite"] == {"loss": "nan", "kl": "inf", "reward": "-inf"}


def test_scalars_of_arrays_and_tensors_are_numbers(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write(
            {"step": 1, "a": numpy.float32(0.5), "b": numpy.int64(3), "c": torch.tensor(0.25), "d": numpy.ones(1)}
        )
    [row] = read_rows(path)[0]
    assert (row["a"], row["b"], row["c"], row["d"]) == (0.5, 3, 0.25, 1.0)


def test_what_is_no_row_is_refused_and_not_written(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for row in ({"loss": 1.0}, {"step": 1.5}, {"step": True}):
            with pytest.raises(UsageError, match="integer step"):
                journal.write(row)
        with pytest.raises(UsageError, match="'loss' is a ndarray"):
            journal.write({"step": 1, "loss": numpy.ones(2)})
        with pytest.raises(UsageError, match="'reward' is a Tensor"):
            journal.write({"step": 1, "reward": torch.ones(2, 2)})
        with pytest.raises(UsageError, match="'parts' is a dict"):
            journal.write({"step": 1, "parts": {}})
        with pytest.raises(UsageError, match="reserved field"):
            journal.write({"step": 1, "not_finite": 1})
    assert path.read_bytes() == b""


def test_a_torn_last_line_is_ignored_by_readers_and_cut_by_the_next_writer(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write_steps(path, 1, 2)
    whole = path.read_bytes()
    for cut in range(1, 30):
        path.write_bytes(whole[:-cut])
        steps = [row["step"] for row in read_rows(path)[0]]
        assert steps == [1]
        assert malformed_lines(path) == []
        write_steps(path, 3)
        assert [row["step"] for row in read_rows(path)[0]] == [1, 3]


def test_a_torn_line_longer_than_a_block_is_cut_too(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write_steps(path, 1)
    with path.open("ab") as file:
        file.write(b'{"step": 2, "note": "' + b"x" * 200_000)
    write_steps(path, 2)
    assert [row["step"] for row in read_rows(path)[0]] == [1, 2]
    path.write_bytes(b"y" * 100_000)
    write_steps(path, 5)
    assert [row["step"] for row in read_rows(path)[0]] == [5]


def test_a_killed_writer_leaves_whole_rows(tmp_path: Path, start_program: Any):
    path = tmp_path / "journal.jsonl"
    writer = start_program(
        """
        import sys
        from pathlib import Path
        from steersman.runs.journal import Journal
        journal, step = Journal(Path(sys.argv[1])), 0
        while True:
            step += 1
            journal.write({"step": step, "loss": 1 / step})
            print(step, flush=True)
        """,
        path,
    )
    acknowledged = [writer.stdout.readline() for _ in range(500)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += writer.stdout.read().splitlines()
    rows, _ = read_rows(path)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= len(acknowledged) >= 500


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    before=st.lists(st.integers(0, 9), max_size=8), after=st.lists(st.integers(0, 9), max_size=8), cut=st.integers(0, 9)
)
def test_truncation_at_resume_gives_exactly_the_earlier_rows(
    tmp_path_factory: pytest.TempPathFactory, before: list[int], after: list[int], cut: int
):
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    write_steps(path, *before)
    earlier = [line for line in path.read_bytes().splitlines(keepends=True) if json.loads(line)["step"] <= cut]
    with Journal(path, clock=lambda: 2.0) as journal:
        journal.truncate_to(cut)
        assert path.read_bytes() == b"".join(earlier)
        for step in after:
            journal.write({"step": step})
    assert [row["step"] for row in read_rows(path)[0]] == [step for step in before if step <= cut] + after


def test_cutting_moves_damaged_lines_aside_and_drops_what_is_half_written(tmp_path: Path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"step": 1}\nnonsense\n[]\n{"step": 9}\n{"step": 1}')
    assert [(line.line, line.row) for line in truncate_lines(path, 5)] == [(2, "nonsense"), (3, "[]")]
    assert path.read_bytes() == b'{"step": 1}\n'
    assert (tmp_path / "samples.jsonl.damaged").read_bytes() == b"nonsense\n[]\n"
    assert truncate_lines(path, 5) == truncate_lines(tmp_path / "none", 5) == []
    assert not (tmp_path / "none").exists()


def test_a_cursor_gives_each_row_once(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    assert read_rows(path) == ([], 0)
    assert continues(path, 0)
    assert not continues(path, 5)
    journal = Journal(path)
    cursor, seen = 0, []
    for step in range(20):
        journal.write({"step": step})
        if step % 3 == 0:
            rows, cursor = read_rows(path, cursor)
            seen += [row["step"] for row in rows]
    with path.open("ab") as file:
        file.write(b'{"step": 20, "lo')
    rows, cursor = read_rows(path, cursor)
    seen += [row["step"] for row in rows]
    with path.open("ab") as file:
        file.write(b'ss": 1}\n')
    rows, cursor = read_rows(path, cursor)
    assert seen + [row["step"] for row in rows] == list(range(21))
    assert read_rows(path, cursor) == ([], cursor)
    assert cursor < 2**53
    journal.close()


def test_a_cursor_is_where_it_stands_and_a_checksum_of_the_64_bytes_before(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write_steps(path, 1, 2, 3)
    data = path.read_bytes()
    assert len(data) > 64
    _, cursor = read_rows(path)
    assert divmod(cursor, 4096) == (len(data), zlib.crc32(data[-64:]) % 4096)


def test_a_cursor_notices_that_the_journal_was_cut(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write_steps(path, *range(10))
    _, cursor = read_rows(path)
    with Journal(path, clock=lambda: 7.0) as journal:
        journal.truncate_to(4)
        assert not continues(path, cursor)
        for step in range(5, 15):
            journal.write({"step": step, "loss": step / 2})
    # As long as before and longer: only the bytes differ.
    assert not continues(path, cursor)
    rows, cursor = read_rows(path, cursor)
    assert [row["step"] for row in rows] == list(range(15))
    assert continues(path, cursor)


@given(cursor=st.integers())
@settings(deadline=None, max_examples=50)
def test_any_number_is_a_safe_cursor(tmp_path_factory: pytest.TempPathFactory, cursor: int):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    if not path.exists():
        write_steps(path, 1, 2)
    rows, _ = read_rows(path, cursor)
    assert [row["step"] for row in rows] in ([1, 2], [2], [])


def test_the_last_rows_are_read_from_the_end(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    assert last_rows(path, 3) == []
    with Journal(path) as journal:
        for step in range(3000):
            journal.write({"step": step, "note": "x" * 100})
    assert [row["step"] for row in last_rows(path, 2)] == [2998, 2999]
    assert [row["step"] for row in last_rows(path, 2500)] == list(range(500, 3000))
    assert len(last_rows(path, 9000)) == 3000
    assert last_rows(path, 0) == []


def test_damaged_lines_are_passed_over_and_named(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xffep": 2}\n[3]\n{"step": 4}\n{"step": 5')
    assert [row["step"] for row in read_rows(path)[0]] == [1, 4]
    assert [line.line for line in malformed_lines(path)] == [2, 3]
    assert str(malformed_lines(path)[1]) == f"{path}:3: not a journal row"


class Counting(io.FileIO):
    """A file that counts the bytes that are read of it."""

    bytes_read = 0

    def read(self, *size: int) -> bytes:
        data = super().read(*size)
        type(self).bytes_read += len(data)
        return data


def test_of_a_long_journal_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(f'{{"step": {step}, "time": 1.0, "note": "{"x" * 1000}"}}\n' for step in range(300)))
    # for the call alone: what counts the tests' processor time opens files as well
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Counting(str(path), mode))
        rows = last_rows(path, 3)
    assert [row["step"] for row in rows] == [297, 298, 299]
    assert Counting.bytes_read == 1 << 16, "of 300,000 bytes"


def test_a_row_that_the_disk_took_in_part_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, write = tmp_path / "journal.jsonl", os.write
    with Journal(path, clock=lambda: 1.0) as journal:
        journal.write({"step": 1, "loss": 0.5})
        before = path.read_bytes()

        def filling(descriptor: int, data: bytes) -> int:
            if path.stat().st_size > len(before):
                raise OSError(28, "No space left on device")
            return write(descriptor, data[:5])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", filling)
            with pytest.raises(SteersmanError, match="No space left on device"):
                journal.write({"step": 2, "loss": 0.25})
        assert path.read_bytes() == before
        journal.write({"step": 2, "loss": 0.25})
    assert [row["step"] for row in read_rows(path)[0]] == [1, 2]


def test_a_full_disk_leaves_whole_rows_and_says_so(tmp_path: Path, start_program: Any):
    path = tmp_path / "journal.jsonl"
    program = start_program(
        """
        import resource, sys
        from pathlib import Path
        from steersman.errors import SteersmanError
        from steersman.runs.journal import Journal
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        journal, step = Journal(Path(sys.argv[1])), 0
        try:
            while True:
                step += 1
                journal.write({"step": step, "loss": 0.5})
        except SteersmanError as error:
            print(step, error)
        """,
        path,
    )
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    failed = int(out.split()[0])
    assert "journal.jsonl could not be written: File too large" in out
    data = path.read_bytes()
    assert data.endswith(b"}\n")
    assert [row["step"] for row in read_rows(path)[0]] == list(range(1, failed))
    assert 900 < len(data) <= 1000


def test_an_error_of_the_disk_names_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Journal(tmp_path / "journal.jsonl") as journal:
        with monkeypatch.context() as patch:

            def fail(descriptor: int, data: bytes) -> int:
                raise OSError(28, "No space left on device")

            patch.setattr(os, "write", fail)
            with pytest.raises(SteersmanError, match=r"No space left on device\. It needs"):
                journal.write({"step": 1})
        journal.write({"step": 1})
    assert len(read_rows(journal.path)[0]) == 1


def test_old_names_are_read_as_new_ones_in_mappings_and_lists_too():
    old = {"told": ["clip fraction", "ended by themselves"], "held_out": {"ended by themselves": 0.5}, "step": 3}
    assert under_new_names(old) == {
        "reported": ["clip fraction", "ended with EOS"],
        "held_out": {"ended with EOS": 0.5},
        "step": 3,
    }


def test_a_journal_s_rows_are_on_the_disk_where_that_is_asked_for_and_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_size))
    journal = Journal(tmp_path / "journal.jsonl", clock=lambda: 1.0)
    journal.write({"step": 1})
    assert seen == []
    journal.sync()
    journal.write({"step": 2})
    journal.close()
    row = len('{"step": 1, "time": 1.0}\n')
    assert seen == [row, 2 * row]
    journal.close()
    assert len(seen) == 2, "a closed journal is closed once"
