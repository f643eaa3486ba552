"""Rows packed on a GPU: what the kernels say of each is what it gives by itself; gradients too."""

import copy

import pytest
import torch

from steersman.batches import TokenRow, pad_rows
from steersman.models.compiled import compile_layers
from steersman.models.loading import load_causal
from steersman.models.packed_attention import attend_packed, packed

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LENGTHS = (3, 70, 1, 33)


def test_rows_begin_where_the_ones_before_them_end():
    rows = packed((3, 70, 1), torch.device("cpu"))
    assert rows.starts.tolist() == [0, 3, 73, 74]
    assert rows.starts.dtype == torch.int32
    assert rows.longest == 128, "few different numbers, for compiled code"
    assert packed((2,), torch.device("cpu")).longest == 64


@ON_GPU
@pytest.mark.parametrize("key_heads", [4, 2])
def test_each_row_attends_to_itself(key_heads):
    total, size, dtype, bound = sum(LENGTHS), 32, torch.bfloat16, 3e-2
    shapes = [(1, heads, total, size) for heads in (4, key_heads, key_heads)]
    tensors = [torch.randn(shape, device="cuda").to(dtype).requires_grad_() for shape in shapes]
    seen = attend_packed(*tensors, packed(LENGTHS, torch.device("cuda")), 0.3)[0]  # pyright: ignore[reportCallIssue]
    grad = torch.randn_like(seen)
    grads = torch.autograd.grad(seen, tensors, grad)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    parts = []
    for q, k, v in zip(*(tensor[0].split(LENGTHS, dim=1) for tensor in exact), strict=True):
        k, v = (x.repeat_interleave(4 // key_heads, 0) for x in (k, v))
        parts.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3))
    expected = torch.cat(parts, dim=1).transpose(0, 1)
    assert (seen.double() - expected).abs().max() < bound
    for one, other in zip(grads, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert (one.double() - other).abs().max() < 3 * bound * max(1.0, float(other.abs().max()))


def learned(backbone, batch):
    backbone.zero_grad()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        chosen, _ = backbone.log_probs(batch)
    (chosen * torch.linspace(0.5, 1, len(chosen), device="cuda")).sum().backward()
    return chosen.detach(), torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])


@ON_GPU
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_models_learn_the_same_without_padding(folder_of, name, compiled):
    backbone = load_causal(folder_of(name), dtype=torch.float32, device="cuda")
    assert backbone.skips_padding(half=True)
    assert not backbone.skips_padding(half=False)
    plain = copy.deepcopy(backbone)
    plain.unpadded = 0
    if compiled:
        torch._dynamo.reset()
        compile_layers([backbone])
    for lengths in (LENGTHS, (9, 40)):
        rows = [TokenRow(torch.randint(2, 300, (min(n, 60),)), torch.arange(min(n, 60)) > 0) for n in lengths]
        batch = pad_rows(rows, pad_id=1).to("cuda")
        seen, gradient = learned(backbone, batch)
        expected, other = learned(plain, batch)
        assert (seen - expected).abs().max() < 0.1
        assert (gradient - other).norm() < 0.06 * other.norm()
