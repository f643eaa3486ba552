"""AdamW with moments in 8 bits, by torchao: its arithmetic, and its state in a checkpoint, bit by bit."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from steersman.errors import CheckpointError, MissingLibrary, UsageError
from steersman.execution.learner import optimiser_of
from steersman.parallel.world import World
from steersman.settings.parts import OptimiserSettings
from steersman.train.checkpoint import load_checkpoint, take_snapshot
from steersman.train.core import Learner
from steersman.train.eight_bits import Quantised
from steersman.train.optim import Optimisation, States, adamw, load_optimiser_tensors, optimiser_tensors
from steersman.train.plan import Batching
from steersman.train.precision import autocast

there = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")
ALONE = World.alone()


class Layers(nn.Module):
    """A matrix of 8,192 numbers in 32 blocks, one of 4,097, and a vector: only the first is quantised."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large = nn.Parameter(torch.randn(64, 128))
        self.odd = nn.Parameter(torch.randn(17, 241))
        self.vector = nn.Parameter(torch.randn(128))


def of(model: nn.Module, states: States = "8bit", **given) -> torch.optim.Optimizer:
    usual = {"learning_rate": 1e-2, "weight_decay": 0.1, "betas": (0.9, 0.99), "epsilon": 1e-8}
    return adamw(model, **{**usual, **given}, states=states)


def step(model: nn.Module, optimiser: torch.optim.Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser.step()


@there
def test_the_first_step_is_that_of_adamw():
    # from zero moments nothing was rounded yet, so both take the same step
    ours, theirs = Layers(), Layers()
    step(ours, of(ours), 0)
    step(theirs, of(theirs, "float32"), 0)
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, plain, atol=1e-6)


@there
def test_later_steps_stay_near_those_of_float32_moments():
    ours, theirs = Layers(), Layers()
    start = ours.large.detach().clone()
    first, second = of(ours), of(theirs, "float32")
    for number in range(10):
        step(ours, first, number)
        step(theirs, second, number)
    assert torch.allclose(ours.odd, theirs.odd, atol=1e-5), "it stays in float32"
    moved = (theirs.large - start).norm()
    assert 0 < (ours.large - theirs.large).norm() < 0.05 * moved


@there
def test_a_moment_takes_a_byte_for_each_number_and_a_scale_for_each_block():
    model = Layers()
    optimiser = of(model)
    step(model, optimiser, 0)
    found = optimiser_tensors(model, optimiser)
    assert found["exp_avg.codes/large"].dtype == found["exp_avg_sq.codes/large"].dtype == torch.uint8
    assert found["exp_avg.codes/large"].shape == (64, 128)
    assert found["exp_avg.scale/large"].shape == (32,)
    assert "exp_avg/large" not in found
    assert found["exp_avg/odd"].dtype == found["exp_avg/vector"].dtype == torch.float32
    assert isinstance(optimiser.state[model.large]["exp_avg"], Quantised)


def learner_of(model: nn.Module) -> Learner:
    optimisation = Optimisation(of(model), rate_at=lambda step: 1.0 / (1 + step), max_grad_norm=1.0)
    batching = Batching(lambda units: units, 64)
    return Learner(model, optimisation, batching, ALONE, precision=autocast("fp32", ALONE.device), notice=print)


@there
def test_a_run_put_back_goes_on_with_the_same_bits(tmp_path: Path):
    first, again = learner_of(Layers()), learner_of(Layers())
    for number in range(3):
        step(first.model, first.optimiser, number)
    first.progress.step = 3
    take_snapshot(first, {"epoch": 1}, ALONE).write(tmp_path)
    assert load_checkpoint(tmp_path, again, ALONE) == {"epoch": 1}
    for number in range(3, 6):
        for learner in (first, again):
            learner._set_rate(0.5)
            step(learner.model, learner.optimiser, number)
    kept, other = (optimiser_tensors(one.model, one.optimiser) for one in (first, again))
    assert set(kept) == set(other)
    assert all(torch.equal(kept[name], other[name]) for name in kept)
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@there
def test_the_schedule_reaches_the_rates_that_a_compiled_step_reads():
    learner = learner_of(Layers())
    learner._set_rate(0.25)
    assert [float(group["lr"]) for group in learner.optimiser.param_groups] == pytest.approx([0.0025, 0.0025])
    assert all(isinstance(group["lr"], torch.Tensor) for group in learner.optimiser.param_groups)


@there
@pytest.mark.parametrize(("kept", "wanted"), [("float32", "8bit"), ("8bit", "float32")])
def test_moments_of_the_other_kind_are_refused(kept, wanted):
    model = Layers()
    optimiser = of(model, kept)
    step(model, optimiser, 0)
    tensors = optimiser_tensors(model, optimiser)
    with pytest.raises(CheckpointError, match=r"moments of large are .*; resume with the optimiser\.states"):
        load_optimiser_tensors(model, of(model, wanted), tensors)


def test_without_torchao_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torchao" else find(name, *a))
    with pytest.raises(MissingLibrary, match=r"steersman\[8bit\]"):
        of(Layers())


@pytest.mark.parametrize(
    ("world", "seen"),
    [
        (World(rank=0, size=2, device=torch.device("cpu"), mesh=None), "has 2 processes"),
        (World.alone("mps"), "is on mps"),
    ],
)
def test_several_processes_and_other_devices_are_refused(world, seen):
    with pytest.raises(UsageError, match=rf"optimiser\.states=8bit is for .*{seen}"):
        optimiser_of(Layers(), OptimiserSettings(states="8bit"), world, learning_rates={})
