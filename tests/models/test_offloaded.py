"""Tensors that come to the device only while they are needed.

On a machine without a GPU the CPU copy and the device are both in its memory, but are
two places all the same, told apart by their addresses."""

from contextlib import ExitStack

import pytest
import torch
from torch import nn

from steersman.models.offloaded import Offloaded, offload_modules, offload_optimiser_state

CPU = torch.device("cpu")


def addresses(module: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())]


def state_of(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for state in optimiser.state.values() for value in state.values()]


def some_model() -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def test_a_module_is_elsewhere_inside_and_at_home_outside():
    model = some_model()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    parked = offload_modules([model, model[0]], CPU, frozen=True)
    home = addresses(model)
    assert parked.bytes == sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    for _ in range(2):
        with parked.on_device():
            assert not set(home) & set(addresses(model))
            assert model[2].weight is model[0].weight
            for name, value in model.state_dict().items():
                assert torch.equal(value, expected[name])
        assert addresses(model) == home
    with pytest.raises(ZeroDivisionError), parked.on_device():
        raise ZeroDivisionError
    assert addresses(model) == home


def test_visits_within_a_visit_change_nothing():
    model = some_model()
    parked = offload_modules([model], CPU, frozen=False)
    home = addresses(model)
    with parked.on_device():
        there = addresses(model)
        with parked.on_device():
            assert addresses(model) == there
        assert addresses(model) == there
        parked_weight = model[0].weight.detach().clone()
    assert addresses(model) == home
    assert torch.equal(model[0].weight, parked_weight)


def test_what_changed_comes_home_and_frozen_weights_are_not_copied():
    for frozen in (False, True):
        model = some_model()
        before = model[0].weight.detach().clone()
        with offload_modules([model], CPU, frozen=frozen).on_device(), torch.no_grad():
            model[0].weight.add_(1.0)
            model[1](torch.ones(2, 4))
        assert torch.equal(model[0].weight, before if frozen else before + 1.0)
        assert int(model[1].num_batches_tracked) == 1, "a buffer may change though no weight does"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_home_is_pinned_and_the_devices_memory_is_free():
    device = torch.device("cuda")
    model = nn.Linear(1024, 1024).to(device)
    expected = model.weight.detach().cpu()
    before = torch.cuda.memory_allocated()
    parked = offload_modules([model], device, frozen=False)
    assert torch.cuda.memory_allocated() <= before - 4 * 1024 * 1024
    assert model.weight.device.type == "cpu"
    assert model.weight.is_pinned()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    moments = offload_optimiser_state(optimiser, device)
    for _ in range(2):
        with parked.on_device(), moments.on_device():
            assert model.weight.device.type == "cuda"
            model(torch.ones(2, 1024, device=device)).sum().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        assert all(value.device.type == "cpu" for value in state_of(optimiser))
    assert not torch.equal(model.weight, expected)


def trained(steps: int, *, parked: bool) -> tuple[dict, list[torch.Tensor]]:
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight.copy_(torch.arange(18.0).view(3, 6) / 18)
        model.bias.zero_()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    both = [offload_modules([model], CPU, frozen=False), offload_optimiser_state(optimiser, CPU)] if parked else []
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        with ExitStack() as stack:
            for one in both:
                stack.enter_context(one.on_device())
            model(torch.randn(5, 6, generator=generator)).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            stepped = {value.data_ptr() for value in state_of(optimiser)}
        assert not parked or not stepped & {value.data_ptr() for value in state_of(optimiser)}
    return model.state_dict(), state_of(optimiser)


def test_steps_with_moments_that_come_and_go_give_the_same_bits():
    weights, moments = trained(5, parked=True)
    expected, usual = trained(5, parked=False)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert len(moments) == 6
    assert all(torch.equal(one, other) for one, other in zip(moments, usual, strict=True))


def test_tensors_that_are_put_in_the_place_of_others_find_a_home_of_their_own():
    held = [torch.zeros(4)]
    parked = Offloaded(lambda: held, CPU, frozen=False)
    held[0] = torch.ones(7)
    came = held[0].data_ptr()
    parked.to_cpu()
    assert held[0].data_ptr() != came
    assert parked.bytes == 28
    with parked.on_device():
        held[0].add_(1.0)
    assert held[0].tolist() == [2.0] * 7
