"""What the keeper of a run does with checkpoints and their marks, without a model."""

from pathlib import Path

import pytest
import torch

from steersman.execution.kept import OpenRunFolder
from steersman.parallel.world import World
from steersman.runs.checkpoints import Best, CheckpointStore
from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal, read_rows
from steersman.runs.signals import StopRequest
from steersman.settings.parts import RunSettings
from steersman.train.checkpoint import Snapshot


def snapshot(value: float) -> Snapshot:
    return Snapshot({"weight": torch.tensor(value)}, {}, {}, {"step": 0})


@pytest.fixture
def kept(tmp_path: Path):
    folder = RunFolder.create_or_open(tmp_path)
    settings = RunSettings(out=str(tmp_path), keep_last=1)
    with Journal(folder.journal_path) as journal:
        yield OpenRunFolder(folder, settings, CheckpointStore(folder.checkpoints), journal, StopRequest())


def best_of(kept: OpenRunFolder) -> Best | None:
    return CheckpointStore(kept.folder.checkpoints).best()


def test_a_best_mark_lost_to_a_kill_is_set_again_on_resume(kept: OpenRunFolder):
    kept.save(3, snapshot(1.0))
    assert best_of(kept) is None
    kept.mark_best_again(3, "loss", 0.5)
    assert best_of(kept) == Best(3, "loss", 0.5)


def test_a_best_mark_of_another_step_is_put_right_on_resume(kept: OpenRunFolder):
    kept.save_best(3, snapshot(1.0), "loss", 0.5)
    kept.save(4, snapshot(2.0))
    kept.mark_best_again(4, "loss", 0.25)
    assert best_of(kept) == Best(4, "loss", 0.25)


def test_a_best_mark_that_is_right_or_whose_checkpoint_is_gone_is_left_alone(kept: OpenRunFolder):
    kept.save_best(3, snapshot(1.0), "loss", 0.5)
    kept.mark_best_again(3, "loss", 0.75)
    kept.mark_best_again(9, "loss", 0.1)
    assert best_of(kept) == Best(3, "loss", 0.5)


def test_the_best_checkpoint_and_the_last_ones_stay(kept: OpenRunFolder):
    kept.save_best(1, snapshot(1.0), "loss", 0.5)
    for step in (2, 3):
        kept.save(step, snapshot(float(step)))
    store = CheckpointStore(kept.folder.checkpoints)
    assert store.steps() == [1, 3]
    weights = kept.best_weights(1)
    assert weights is not None
    assert weights["weight"].item() == 1.0


def test_best_weights_that_cannot_be_used_are_said(kept: OpenRunFolder, capsys: pytest.CaptureFixture[str]):
    kept.save_best(1, snapshot(1.0), "loss", 0.5)
    (kept.folder.checkpoints / "step-000001" / "weights.safetensors").write_bytes(b"")
    assert kept.best_weights(1) is None
    assert kept.best_weights(7) is None
    said = capsys.readouterr().err
    assert "step 1) cannot be used" in said
    assert "step 7) cannot be used: it is gone" in said


def test_what_is_saved_once_is_not_saved_again(kept: OpenRunFolder):
    kept.save(3, snapshot(1.0))
    kept.save(3, snapshot(2.0))
    weights = kept.best_weights(3)
    assert weights is not None
    assert weights["weight"].item() == 1.0


def test_notices_before_the_run_is_resumed_are_journaled_after_it(kept: OpenRunFolder):
    kept.journal({"step": 1})
    kept.notice("early")
    assert all("notice" not in row for row in read_rows(kept.folder.journal_path)[0])
    kept._continue_after(-1)
    kept.notice("late")
    rows = read_rows(kept.folder.journal_path)[0]
    assert [(row["step"], row.get("notice")) for row in rows] == [(0, "early"), (0, "late")]


def test_a_damaged_line_of_the_journal_is_said_on_resume_and_kept_aside(
    kept: OpenRunFolder, capsys: pytest.CaptureFixture[str]
):
    for step in (1, 2, 3):
        kept.journal({"step": step, "loss": 1.0})
    kept.save(3, snapshot(3.0))
    path = kept.folder.journal_path
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"step": 2', b'{"step; 2'))
    kept.resume_point(World.alone())
    told = capsys.readouterr().err
    assert f"{path}:2: not a journal row: '" in told
    assert "moved to journal.jsonl.damaged" in told
    assert path.with_name("journal.jsonl.damaged").read_bytes().startswith(b'{"step; 2')
    assert [row["step"] for row in read_rows(path)[0]] == [1, 3, 3]  # the last is the notice
