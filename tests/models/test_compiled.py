"""Compiled layers give what they gave: values, gradients, every role; and one layer's code serves them all."""

import copy
import shutil

import pytest
import torch
import torch._dynamo.testing

from steersman.batches import TokenRow, pad_rows
from steersman.models.acting import acting_as
from steersman.models.adapters import add_lora
from steersman.models.compiled import compile_layers
from steersman.models.fused import unfuse

# torch reads .grad of inner tensors itself while it compiles
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def batch_of(lengths):
    rows = [TokenRow(torch.randint(2, 300, (n,)), torch.arange(n) > 0) for n in lengths]
    return pad_rows(rows, pad_id=1)


def learned(backbone, batch):
    backbone.zero_grad()
    chosen, _ = backbone.log_probs(batch)
    (chosen * torch.arange(1.0, len(chosen) + 1)).sum().backward()
    return chosen.detach(), {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


CASES = [(None, False), ("policy", True), (None, True), ("policy", False)]
"""(adapter, gradient checkpointing)"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "checkpointing", "backend"),
    [
        *((*case, "eager") for case in CASES),
        *(pytest.param(*case, "aot_eager", marks=pytest.mark.soak) for case in CASES),
    ],
)
def test_values_and_gradients_stay(load, adapter, checkpointing, backend):
    plain = load("llama").train()
    # as on a GPU: neither our own step nor our own attention
    unfuse(plain.trunk)
    plain.unpadded, plain.fused = 0, False
    if adapter:
        add_lora(plain, adapter, rank=4, alpha=8)
        for name, parameter in plain.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    plain.use_gradient_checkpointing(checkpointing)
    other = copy.deepcopy(plain)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    assert compile_layers([other], backend=counter) == plain.config.num_hidden_layers
    for lengths in ((3, 8, 1), (7, 7, 2, 5), (12,)):
        batch = batch_of(lengths)
        expected, gradients = learned(plain, batch)
        seen, other_gradients = learned(other, batch)
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)
        assert gradients.keys() == other_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(other_gradients[name], gradient, atol=1e-4, rtol=1e-4)
    with torch.no_grad(), acting_as(other, None):
        reference = other.log_probs(batch)[0]
    with torch.no_grad(), acting_as(plain, None):
        torch.testing.assert_close(reference, plain.log_probs(batch)[0], atol=1e-5, rtol=0)
    assert counter.frame_count <= 24, "one layer's code for all layers and for most lengths"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a processor with g++")
def test_in_half_precision_compiled_layers_err_no_more_than_plain_ones(load):
    exact = load("llama").train()
    unfuse(exact.trunk)
    exact.unpadded, exact.fused = 0, False
    plain, other = copy.deepcopy(exact), copy.deepcopy(exact)
    torch._dynamo.reset()
    compile_layers([other])
    for lengths in ((3, 8, 1), (7, 7, 2, 5)):
        batch = batch_of(lengths)
        expected, gradients = learned(exact, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain_seen, plain_gradients = learned(plain, batch)
            seen, other_gradients = learned(other, batch)
        assert 0 < distance(plain_seen, expected) < 5e-2, "it is half precision, and half precision only"
        assert distance(seen, expected) < 1.5 * distance(plain_seen, expected)
        for name, gradient in gradients.items():
            bound = distance(plain_gradients[name], gradient) + 1e-2 * float(gradient.abs().max())
            assert distance(other_gradients[name], gradient) < 1.5 * bound


def distance(one, other):
    return float((one - other).abs().max())
