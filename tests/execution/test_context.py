"""A run is opened in one place: what its context holds, what its stamp says, and which rows a step learns from."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from steersman.errors import UsageError
from steersman.execution.context import Job, open_run, open_unloaded
from steersman.execution.ending import Finish, already_finished, conclude
from steersman.execution.fit import RowsMadeByStep, TrainingRows
from steersman.runs.stamp import read_stamp
from steersman.settings.sft import SftSettings


@dataclass(frozen=True)
class Loaded:
    """As much of a model as opening a run needs: its width, and a number that was drawn while it was made."""

    drawn: float
    device: torch.device
    hidden_size: int = 32


def load(device: torch.device) -> Loaded:
    return Loaded(float(torch.rand(())), device)


def job(folder: Path, **run: object) -> Job:
    settings = SftSettings.model_validate(
        {
            "model": {"path": "tiny:llama"},
            "data": {"source": "rows.jsonl"},
            "train": {"kernels": "default", "tokens_per_micro_batch": 77},
            "run": {"out": str(folder / "run"), "device": "cpu", "threads": 1, **run},
        }
    )
    return Job("sft", settings, settings.run, settings.train, "steersman chat run", quiet=True)


def test_a_run_is_opened_with_its_seed_its_machine_and_its_folder(tmp_path: Path):
    threads = torch.get_num_threads()
    with open_run(job(tmp_path, seed=5), load, data={"train": "ab"}, parents={"model": "cd"}) as (run, model):
        assert model.drawn == float(torch.rand((), generator=torch.Generator().manual_seed(5)))
        assert (run.seed, run.device, run.token_budget) == (5, torch.device("cpu"), 77)
        assert torch.get_num_threads() == run.machine.threads == 1
        assert run.path == tmp_path / "run"
        assert run.quarantine == tmp_path / "run" / "quarantine.jsonl"
    assert torch.get_num_threads() == threads
    stamp = read_stamp(tmp_path / "run" / "stamp.json")
    assert (stamp["kind"], stamp["seeds"], stamp["threads"], stamp["world_size"]) == ("sft", {"run": 5}, 1, 1)
    assert (stamp["data"], stamp["parents"]) == ({"train": "ab"}, {"model": "cd"})
    assert stamp["deterministic"] == {"onednn kernels": False, "bf16": False}


def test_a_model_may_be_made_with_a_seed_of_its_own(tmp_path: Path):
    with open_run(job(tmp_path, seed=5), load, data={}, parents={}, seed=3) as (run, model):
        assert model.drawn == float(torch.rand((), generator=torch.Generator().manual_seed(3)))
        assert run.seed == 5


def test_other_data_are_another_run(tmp_path: Path):
    with open_run(job(tmp_path), load, data={"train": "ab"}, parents={}) as (run, _):
        run.folder.journal({"step": 1})
    with (
        pytest.raises(UsageError, match=r"data\.train was ab and is now ff"),
        open_run(job(tmp_path), load, data={"train": "ff"}, parents={}),
    ):
        pass


def test_a_run_that_trains_nothing_leaves_torch_as_it_is(tmp_path: Path):
    threads = torch.get_num_threads()
    with open_unloaded(job(tmp_path, threads=threads + 1), data={}, parents={}) as run:
        assert torch.get_num_threads() == threads + 1
        assert run.token_budget == 77
    assert torch.get_num_threads() == threads
    assert read_stamp(tmp_path / "run" / "stamp.json")["deterministic"] == {}


@pytest.mark.parametrize(("ending", "saved"), [("finished", True), ("early", True), ("stopped", False)])
def test_a_run_that_finished_is_saved_and_not_run_again_and_a_stopped_one_is(ending, saved, tmp_path: Path):
    model, seen = torch.nn.Linear(1, 1), []

    def save(folder: Path, weights: object) -> None:
        seen.append(weights)
        (folder / "weights").write_text("here")

    with open_run(job(tmp_path), load, data={}, parents={}) as (run, _):
        run.folder.resume_point(run.world)
        run.folder.journal({"step": 4, "held-out loss": 0.5})
        result = conclude(run, Finish(ending, 4, 4, {"loss": 0.5}), model, save)
    assert (result.ending, result.step, result.held_out) == (ending, 4, {"loss": 0.5})
    # one process has the whole model: no weights are gathered
    assert seen == ([None] if saved else [])
    assert (tmp_path / "run" / "model" / "weights").exists() == saved
    again = already_finished(job(tmp_path))
    assert (again is not None) == saved
    if again is not None:
        assert (again.ending, again.step, again.held_out) == ("already finished", 4, {"loss": 0.5})
        assert again.next_command == "steersman chat run"


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    rows = TrainingRows(7, str, []).by_step(batch_size=3, seed=1)
    epochs = [[one for step in range(3 * epoch, 3 * epoch + 3) for one in rows(step)] for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list("0123456")] * 2
    assert epochs[0] != epochs[1]
    assert [len(rows(step)) for step in range(3)] == [3, 3, 1]
    assert rows(4) == TrainingRows(7, str, []).by_step(batch_size=3, seed=1)(4), "by the step's number alone"


def test_rows_made_by_a_step_are_made_for_that_step():
    assert RowsMadeByStep(9, lambda step: [step, step], []).by_step(batch_size=3, seed=1)(4) == [4, 4]
