"""A curve does not fall to 0 because the last batch of an epoch holds one row."""

import json
from pathlib import Path

import pytest
from commandline import call
from plainly import write_rows

from steersman.reports.curves import figures_of
from steersman.reports.reading import read_run


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of two epochs of 8 + 8 + 1 rows: the accuracy of the one row is 0 or 1."""
    folder = tmp_path / "reward"
    folder.mkdir()
    (folder / "recipe.toml").write_text("")
    accuracies = [(0.5, 8), (0.75, 8), (0.0, 1), (0.75, 8), (0.875, 8), (1.0, 1)]
    rows = [{"step": i, "time": i, "accuracy": a, "rows": n, "tokens": 9} for i, (a, n) in enumerate(accuracies, 1)]
    rows.append({"step": 6, "time": 7, "held-out accuracy": 0.5})
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_small_last_batch_joins_the_batch_before_it(run):
    # (8 * 0.75 + 0) / 9 = 2/3 and (8 * 0.875 + 1) / 9 = 8/9
    expected = [(1.0, 0.5), (2.0, pytest.approx(2 / 3)), (4.0, 0.75), (5.0, pytest.approx(8 / 9))]
    assert read_run(run).curve("accuracy") == expected
    assert read_run(run).curve("held-out accuracy") == [(6.0, 0.5)]
    titles = [figure.title for figures in figures_of(read_run(run)) for figure in figures.figures]
    assert titles == ["Accuracy"], "the size of a batch has no chart"


def test_a_journal_without_rows_is_weighed_by_its_tokens(run):
    journal = run / "journal.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    for row in rows:
        row["tokens"] = 10 * row.pop("rows", 0)
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [step for step, _ in read_run(run).curve("accuracy")] == [1.0, 2.0, 4.0, 5.0]
    # The run's own answers may become short: that is no small batch.
    journal.write_text("".join(json.dumps({**row, "KL to reference": 0.1}) + "\n" for row in rows))
    assert len(read_run(run).curve("accuracy")) == 6


@pytest.mark.slow
def test_the_curve_of_a_real_run_has_no_point_for_the_last_batch(tiny, tmp_path):
    source = write_rows(
        tmp_path / "rows.jsonl", [{"prompt": f"Say {i}", "completion": f"It is {i}."} for i in range(9)]
    )
    words = ["train.batch_size=8", "train.epochs=2", "data.held_out=none", "train.kernels=default", "run.threads=1"]
    out = tmp_path / "sft"
    assert (
        call(
            ["sft", "--model", str(tiny("llama")), "--data", str(source), "--out", str(out), "--device", "cpu", *words]
        )
        == 0
    )
    run = read_run(out)
    assert [value for _, value in run.values("rows")] == [8, 1, 8, 1]
    assert [step for step, _ in run.curve("loss")] == [1.0, 3.0]
