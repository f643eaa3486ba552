"""A journal as columns: read once, from where the last look ended."""

import json
from pathlib import Path

import numpy as np
import pytest
from observed_runs import long_journal

from steersman.runs.columns import read_columns
from steersman.runs.journal import Journal, read_rows


def write(path: Path, *rows: dict) -> None:
    with path.open("a") as file:
        file.write("".join(json.dumps({"time": row["step"], **row}) + "\n" for row in rows))


def test_columns_hold_what_the_rows_hold(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, {"step": 1, "loss": 2.0}, {"step": 1, "held-out loss": 3.0}, {"step": 2, "loss": None, "done": True})
    write(path, {"step": 2, "notice": "so it is"}, {"step": 3, "loss": 1})
    found = read_columns(path)
    assert len(found) == 5
    assert found.values("loss") == [(1.0, 2.0), (3.0, 1.0)]
    assert found.values("loss", since=1) == [(3.0, 1.0)]
    assert found.values("held-out loss") == [(1.0, 3.0)]
    assert "done" not in found
    assert [(one.step, one.text) for one in found.notices] == [(2, "so it is")]


def test_a_second_look_reads_only_what_is_new(tmp_path):
    path = tmp_path / "journal.jsonl"
    long_journal(path, 500)
    found = read_columns(path)
    size = path.stat().st_size
    assert found.bytes_read == size
    with Journal(path, clock=lambda: 9.0) as journal:
        journal.write({"step": 501, "score": 0.25})
    assert found.update() == 1
    assert found.bytes_read == path.stat().st_size
    assert found.last("score") == 0.25
    assert found.update() == 0


def test_a_torn_last_line_is_left_for_the_next_look(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, {"step": 1, "loss": 2.0})
    with path.open("a") as file:
        file.write('{"step": 2, "loss"')
    found = read_columns(path)
    assert len(found) == 1
    with path.open("a") as file:
        file.write(': 1.0, "time": 2}\n')
    assert found.update() == 1
    assert found.values("loss") == [(1.0, 2.0), (2.0, 1.0)]


def test_a_journal_that_a_resume_cut_is_read_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, *({"step": step, "loss": float(step)} for step in range(1, 9)))
    found = read_columns(path)
    with Journal(path) as journal:
        journal.truncate_to(3)
        journal.write({"step": 4, "loss": 40.0})
    found.update()
    assert found.began_again == 1
    assert found.values("loss") == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 40.0)]


def test_reading_in_pieces_gives_the_same_rows(tmp_path):
    path = tmp_path / "journal.jsonl"
    long_journal(path, 200)
    whole, _ = read_rows(path)
    pieces, cursor = [], 0
    while True:
        rows, after = read_rows(path, cursor, most=1000)
        if after == cursor:
            break
        pieces, cursor = pieces + rows, after
    assert pieces == whole


@pytest.mark.parametrize("order", [0, 1])
def test_the_time_between_a_stop_and_a_resume_is_no_work(tmp_path, order):
    path = tmp_path / "journal.jsonl"
    notices = [{"step": 2, "notice": "resumed at step 2"}, {"step": 2, "notice": "not bit-exact"}]
    rows = [{"step": 1, "time": 10}, {"step": 2, "time": 20}]
    rows += [{**one, "time": 500 + i / 10} for i, one in enumerate(notices[::-1] if order else notices)]
    write(path, *rows, {"step": 3, "time": 530})
    assert read_columns(path).seconds == pytest.approx(40.0)


def test_what_is_drawn_is_the_curve(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, *({"step": i, "loss": 1.0 / i, "rows": 1 if i % 3 == 0 else 8} for i in range(1, 10)))
    found = read_columns(path)
    assert found.drawn("loss").tolist() == [list(point) for point in found.curve("loss")]
    assert len(found.curve("loss")) == 6
    write(other := tmp_path / "other.jsonl", *({"step": i, "loss": 1.0 / i, "rows": 8} for i in range(1, 10)))
    assert np.array_equal(read_columns(other).drawn("loss"), np.array(read_columns(other).curve("loss")))
    assert read_columns(other).drawn("nothing").shape == (0, 2)
