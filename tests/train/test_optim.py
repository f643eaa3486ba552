"""The optimiser: what decays, who learns at which rate, and its state by name."""

import pytest
import torch
from torch import nn

from steersman.errors import CheckpointError
from steersman.train.optim import adamw, load_optimiser_tensors, optimiser_tensors, trainable


class Mixed(nn.Module):
    """A matrix, a vector, a scalar, and a matrix that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(2, 2))
        self.vector = nn.Parameter(torch.ones(2))
        self.scalar = nn.Parameter(torch.ones(()))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def of(model: nn.Module, **given) -> torch.optim.Optimizer:
    usual = {"learning_rate": 0.1, "weight_decay": 0.5, "betas": (0.9, 0.95), "epsilon": 1e-8}
    return adamw(model, **{**usual, **given})


def test_matrices_decay_and_vectors_and_scalars_do_not():
    model = Mixed()
    optimiser = of(model)
    for _, parameter in trainable(model):
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    # decoupled decay with no gradient: 1 * (1 - 0.1 * 0.5) = 0.95
    assert torch.allclose(model.matrix, torch.full((2, 2), 0.95))
    assert torch.equal(model.vector, torch.ones(2))
    assert model.scalar.item() == 1.0
    assert torch.equal(model.frozen, torch.ones(2, 2))


def test_the_settings_reach_every_group():
    optimiser = of(Mixed(), betas=(0.8, 0.7), epsilon=1e-3)
    assert [(group["lr"], group["weight_decay"]) for group in optimiser.param_groups] == [(0.1, 0.5), (0.1, 0.0)]
    assert {(group["betas"], group["eps"]) for group in optimiser.param_groups} == {((0.8, 0.7), 1e-3)}
    assert optimiser.defaults["fused"], "one call for all parameters"
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 3, "what is frozen is not handed over"


def test_a_parameter_may_have_a_rate_of_its_own():
    model = Mixed()
    optimiser = of(model, learning_rates={id(model.vector): 0.01})
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    assert rates == {id(model.matrix): (0.1, 0.5), id(model.vector): (0.01, 0.0), id(model.scalar): (0.1, 0.0)}


def stepped(model: nn.Module) -> torch.optim.Optimizer:
    optimiser = of(model)
    for number, (_, parameter) in enumerate(trainable(model), start=1):
        parameter.grad = torch.full_like(parameter, float(number))
    optimiser.step()
    return optimiser


def test_the_state_has_the_parameters_names():
    model = Mixed()
    found = optimiser_tensors(model, stepped(model))
    names = {
        f"{quantity}/{name}"
        for quantity in ("step", "exp_avg", "exp_avg_sq")
        for name in ("matrix", "vector", "scalar")
    }
    assert set(found) == names
    # the second parameter's gradient is 2: (1 - 0.9) * 2 = 0.2 and (1 - 0.95) * 4 = 0.2; the third's is 3
    assert torch.allclose(found["exp_avg/vector"], torch.full((2,), 0.2))
    assert torch.allclose(found["exp_avg_sq/vector"], torch.full((2,), 0.2))
    assert float(found["exp_avg/scalar"]) == pytest.approx(0.3)
    assert float(found["step/matrix"]) == 1.0


def test_a_state_put_back_goes_on_as_if_nothing_had_happened():
    ours, theirs = Mixed(), Mixed()
    before = stepped(ours)
    theirs.load_state_dict(ours.state_dict())
    after = of(theirs)
    kept = optimiser_tensors(ours, before)
    load_optimiser_tensors(theirs, after, kept)
    for model, optimiser in ((ours, before), (theirs, after)):
        for _, parameter in trainable(model):
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert float(kept["step/scalar"]) == 1.0, "what was loaded from is not stepped along"


def test_a_state_of_tensors_that_the_model_lacks_is_refused():
    model = Mixed()
    kept = optimiser_tensors(model, stepped(model))
    strange = {**kept, "exp_avg/other": torch.zeros(2), "step/other": torch.zeros(())}
    with pytest.raises(CheckpointError, match=r"has 2 tensors that this model lacks, such as 'exp_avg/other'"):
        load_optimiser_tensors(model, of(model), strange)


def test_an_empty_state_leaves_the_optimiser_as_it_is():
    model = Mixed()
    optimiser = of(model)
    load_optimiser_tensors(model, optimiser, {})
    assert not optimiser.state
