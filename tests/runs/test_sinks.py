"""TensorBoard for real; Weights & Biases by a small stand-in for its service (`test_trackers` has its library,
offline)."""

import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import MissingLibrary
from steersman.runs.journal import Journal
from steersman.runs.sinks import TensorBoardSink, WandbSink


def tensorboard_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_tensorboard_shows_what_the_journal_wrote(tmp_path: Path):
    folder = tmp_path / "tensorboard"
    with Journal(tmp_path / "journal.jsonl", [TensorBoardSink(folder)]) as journal:
        for step in (1, 2, 3):
            journal.write({"step": step, "loss": step / 4, "note": "not a number", "kl": math.nan})
    assert tensorboard_scalars(folder, "loss") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert all(math.isnan(value) for _, value in tensorboard_scalars(folder, "kl"))


def test_tensorboard_forgets_the_steps_that_a_resume_does_again(tmp_path: Path):
    folder = tmp_path / "tensorboard"
    with Journal(tmp_path / "journal.jsonl", [TensorBoardSink(folder)]) as journal:
        for step in (1, 2, 3):
            journal.write({"step": step, "loss": 1.0})
    with Journal(tmp_path / "journal.jsonl", [TensorBoardSink(folder)]) as journal:
        journal.truncate_to(1)
        journal.write({"step": 2, "loss": 0.5})
    assert tensorboard_scalars(folder, "loss") == [(1, 1.0), (2, 0.5)]


def test_without_tensorboard_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'steersman\[tensorboard\]'"):
        TensorBoardSink(tmp_path)


class FakeRun:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options, self.rows, self.axes, self.finished = options, [], {}, False

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, row: Mapping[str, float]) -> None:
        self.rows.append(dict(row))

    def finish(self, exit_code: int) -> None:
        self.finished = exit_code == 0


def test_weights_and_biases_gets_the_numbers_under_our_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        runs.append(FakeRun(options))
        return runs[-1]

    module = types.ModuleType("wandb")
    module.Table = dict  # type: ignore[attr-defined]
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        sink = WandbSink(tmp_path, "harbour", "one", {"seed": 1})
        with Journal(tmp_path / "journal.jsonl", [sink], clock=lambda: 5.0) as journal:
            journal.truncate_to(0)
            journal.write({"step": 1, "loss": 0.5, "note": "text"})
    first, second = runs
    assert first.rows == [{"loss": 0.5, "step": 1, "time": 5.0}]
    assert first.axes == {"*": "step"}
    assert first.finished
    assert (first.options["project"], first.options["name"], first.options["config"]) == ("harbour", "one", {"seed": 1})
    assert first.options["resume"] == "allow"
    # The resumed run goes on in the same page.
    assert first.options["id"] == second.options["id"]
    assert len(first.options["id"]) == 16


def test_without_weights_and_biases_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'steersman\[wandb\]'"):
        WandbSink(tmp_path, "harbour", "one", {})
    assert list(tmp_path.iterdir()) == []
