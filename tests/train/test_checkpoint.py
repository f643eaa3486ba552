"""What a checkpoint puts back: weights, optimiser, random generators, and where the core stands."""

import json
from pathlib import Path

import pytest
import torch
from line import TWO, Line, Squares, line_learner
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from steersman.errors import CheckpointError
from steersman.parallel.world import World
from steersman.train.checkpoint import (
    generator_tensors,
    load_checkpoint,
    load_weight_tensors,
    take_snapshot,
    weight_tensors,
)
from steersman.train.core import Learner
from steersman.train.optim import adamw

ALONE = World.alone()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return adamw(model, learning_rate=0.1, weight_decay=0.0, betas=(0.9, 0.95), epsilon=1e-8)


def save(learner: Learner, folder: Path, **facts) -> None:
    folder.mkdir(exist_ok=True)
    take_snapshot(learner, facts, ALONE).write(folder)


def test_a_run_put_back_goes_on_with_the_same_bits(tmp_path: Path):
    first, again = line_learner(optimiser=adam), line_learner(optimiser=adam)
    for _ in range(3):
        first.step(TWO, Squares())
    save(first, tmp_path / "kept", epoch=2, name="é")
    assert load_checkpoint(tmp_path / "kept", again, ALONE) == {"epoch": 2, "name": "é"}
    assert again.progress == first.progress
    assert again.progress.step == 3
    for learner in (first, again):
        learner.step(TWO, Squares())
    assert torch.equal(first.model.weight, again.model.weight)


def test_the_generator_goes_on_where_it_was(tmp_path: Path):
    torch.manual_seed(3)
    torch.rand(5)
    save(line_learner(), tmp_path)
    expected = torch.rand(4)
    torch.manual_seed(99)
    load_checkpoint(tmp_path, line_learner(), ALONE)
    assert torch.equal(torch.rand(4), expected)


def test_a_gpu_s_generator_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world, put_back = World.alone("cuda:0"), list[tuple[Tensor, torch.device]]()
    state = torch.arange(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: put_back.append((state, device)))
    take_snapshot(line_learner(), {}, world).write(tmp_path)
    load_checkpoint(tmp_path, line_learner(), ALONE)
    assert put_back == [], "another device has no use for it"
    load_checkpoint(tmp_path, line_learner(), world)
    [(found, device)] = put_back
    assert (found.tolist(), device) == (state.tolist(), torch.device("cuda:0"))
    (tmp_path / "generators.safetensors").unlink()
    save_file({"cpu/0": torch.get_rng_state()}, tmp_path / "generators.safetensors")
    load_checkpoint(tmp_path, line_learner(), world)
    assert len(put_back) == 1, "a checkpoint that was made without a GPU has none"


def test_a_process_without_a_state_of_its_own_keeps_its_generator(tmp_path: Path):
    save(line_learner(), tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    load_checkpoint(tmp_path, line_learner(), World(1, 2, torch.device("cpu"), None))
    assert torch.equal(torch.rand(4), expected)


def test_steps_that_were_bad_in_a_row_are_remembered(tmp_path: Path):
    learner, again = line_learner(), line_learner()
    learner.progress.bad_in_a_row = 4
    save(learner, tmp_path)
    load_checkpoint(tmp_path, again, ALONE)
    assert again.progress.bad_in_a_row == 4


def test_a_budget_that_memory_made_smaller_stays_small_unless_another_is_asked_for(tmp_path: Path):
    learner = line_learner(budget=64)
    learner.progress.token_budget = 16
    save(learner, tmp_path)
    same, other = line_learner(budget=64), line_learner(budget=48)
    for each in (same, other):
        load_checkpoint(tmp_path, each, ALONE)
    assert same.progress.token_budget == 16
    assert other.progress.token_budget == 48


def test_the_files_hold_what_their_names_say(tmp_path: Path):
    learner = line_learner(optimiser=adam)
    learner.step(TWO, Squares())
    save(learner, tmp_path, tokens=2)
    assert set(load_file(tmp_path / "weights.safetensors")) == {"weight"}
    assert set(load_file(tmp_path / "optimiser.safetensors")) == {"exp_avg/weight", "exp_avg_sq/weight", "step/weight"}
    assert set(load_file(tmp_path / "generators.safetensors")) == {"cpu/0"}
    assert json.loads((tmp_path / "state.json").read_text()) == {
        "step": 1,
        "token_budget": 100,
        "wished_budget": 100,
        "bad_in_a_row": 0,
        "processes": 1,
        "facts": {"tokens": 2},
    }


def test_a_snapshot_knows_its_size():
    learner = line_learner(optimiser=adam)
    learner.step(TWO, Squares())
    # a weight, two moments and a step of four bytes each, and the generator's state
    assert take_snapshot(learner, {}, ALONE).bytes == 16 + torch.get_rng_state().numel()
    assert list(generator_tensors(ALONE)) == ["cpu/0"]


class Buffered(Line):
    """A buffer that belongs to the model, one that does not, and a parameter that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(3.0))
        self.register_buffer("passing", torch.tensor(4.0), persistent=False)
        self.frozen = nn.Parameter(torch.tensor(5.0), requires_grad=False)


def test_trainable_parameters_and_lasting_buffers_are_kept_and_nothing_else():
    kept = weight_tensors(Buffered())
    assert {name: float(value) for name, value in kept.items()} == {"weight": 0.0, "mean": 3.0}
    model = Buffered()
    load_weight_tensors(model, {"weight": torch.tensor(1.0), "mean": torch.tensor(2.0)})
    assert (model.weight.item(), float(model.mean), model.frozen.item()) == (1.0, 2.0, 5.0)
    assert model.weight.requires_grad


def test_a_buffer_that_an_older_checkpoint_lacks_stays_as_it_is():
    model = Buffered()
    load_weight_tensors(model, {"weight": torch.tensor(1.0)})
    assert (model.weight.item(), float(model.mean)) == (1.0, 3.0)


def test_weights_of_another_model_are_refused_and_named():
    with pytest.raises(
        CheckpointError, match=r"1 parameters missing \(such as \['weight'\]\), 1 unknown \(such as \['other'\]\)"
    ):
        load_weight_tensors(Line(), {"other": torch.zeros(())})
    with pytest.raises(CheckpointError, match=r"0 parameters missing .*, 1 unknown \(such as \['other'\]\)"):
        load_weight_tensors(Line(), {"weight": torch.zeros(()), "other": torch.zeros(())})
    with pytest.raises(CheckpointError, match=r"1 parameters missing .*, 0 unknown"):
        load_weight_tensors(Line(), {})
    with pytest.raises(CheckpointError, match=r"weight has shape \(2,\) in the checkpoint and \(\) in the model"):
        load_weight_tensors(Line(), {"weight": torch.zeros(2)})


def test_the_state_can_be_read_by_people(tmp_path: Path):
    save(line_learner(), tmp_path)
    assert (tmp_path / "state.json").read_text().splitlines()[:2] == ["{", ' "bad_in_a_row": 0,']
