"""In which numbers the model computes."""

import pytest
import torch

from steersman.train.precision import autocast, resolve_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("wish", ["fp32", "bf16"])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_wish_is_granted_on_every_device(wish, device):
    assert resolve_precision(wish, device) == wish


def test_left_to_itself_a_processor_computes_in_float32():
    assert resolve_precision("auto", CPU) == "fp32"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_left_to_itself_a_gpu_computes_in_bf16_if_it_can(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert resolve_precision("auto", CUDA) == expected


def test_in_bf16_products_are_rounded_and_weights_are_not():
    layer = torch.nn.Linear(3, 2)
    with autocast("bf16", CPU)():
        assert layer(torch.ones(1, 3)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    with autocast("fp32", CPU)():
        assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_float32_turns_an_outer_autocast_neither_on_nor_off():
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast("fp32", CPU)():
        assert torch.is_autocast_enabled("cpu")
