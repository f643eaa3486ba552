"""Rows packed on a GPU: what the kernels say of each is what it gives by itself; gradients too. On a CPU the same paths
run with attention in plain torch, in float32."""

import copy
from contextlib import nullcontext

import pytest
import torch

from steersman.batches import Bucket, TokenRow, pack_tokens, packing_on_cpu, pad_rows
from steersman.errors import DataError
from steersman.models.buckets import bucket_of, rounded_up
from steersman.models.compiled import compile_layers
from steersman.models.loading import load_causal
from steersman.models.packed_attention import Packed, attend_packed, use_public_attention

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
LENGTHS = (3, 70, 1, 33)


def batch_of(lengths):
    rows = [TokenRow(torch.randint(2, 300, (n,)), torch.arange(n) >= max(1, n // 2)) for n in lengths]
    return pad_rows(rows, pad_id=1)


def starts_of(lengths):
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def test_rows_begin_where_the_ones_before_them_end():
    batch = batch_of((3, 70, 1))
    rows = pack_tokens(batch)
    assert rows.starts.tolist() == [0, 3, 73, 74, 80], "the last row fills up to a multiple of 16"
    assert rows.starts.dtype == torch.int32
    assert rows.bound == 128, "few different numbers, for compiled code"
    assert pack_tokens(batch_of((2,))).bound == 64
    assert torch.equal(rows.ids[:74], batch.ids[batch.attention_mask])
    assert rows.positions.tolist() == [*range(3), *range(70), 0, *range(6)]
    assert torch.equal(rows.targets, batch.ids[batch.loss_mask])
    assert torch.equal(rows.ids[rows.before + 1], rows.targets)
    assert torch.equal(batch.ids.view(-1)[rows.places], rows.ids[:74])


def test_a_bucket_is_filled_with_rows_of_their_own_and_targets_that_nothing_reads():
    batch = batch_of((3, 70, 1))
    rows = pack_tokens(batch, Bucket(tokens=224, rows=8, targets=40))
    assert rows.starts.tolist() == [0, 3, 73, 74, 202, 224, 224, 224, 224], "none longer than the bound of 128"
    assert len(rows.ids) == len(rows.positions) == 224
    assert len(rows.before) == len(rows.targets) == 40
    assert torch.equal(rows.targets[:37], batch.ids[batch.loss_mask])
    assert rows.before[37:].tolist() == rows.targets[37:].tolist() == [0, 0, 0]
    for small in (Bucket(73, 8, 40), Bucket(224, 4, 40), Bucket(224, 8, 36)):
        with pytest.raises(DataError, match="do not fit"):
            pack_tokens(batch, small)


def test_buckets_are_few_and_little_larger_than_what_they_hold():
    sizes = {rounded_up(size) for size in range(600, 1200)}
    assert sizes == {640, 704, 768, 832, 896, 960, 1024, 1152, 1280}
    assert all(size <= rounded_up(size) <= 1.125 * size + 64 for size in range(1, 5000))
    assert len({bucket_of(batch_of([59] * 15 + [n])) for n in range(30, 60)}) <= 2
    for lengths in ((1,), (64,) * 9, (700, 3)):
        batch = batch_of(lengths)
        assert pack_tokens(batch, bucket_of(batch)).longest == max(lengths)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_each_row_attends_to_itself(key_heads, public, device):
    total, size = sum(LENGTHS), 32
    dtype, bound = (torch.bfloat16, 3e-2) if device == "cuda" else (torch.float32, 1e-5)
    shapes = [(1, heads, total, size) for heads in (4, key_heads, key_heads)]
    tensors = [torch.randn(shape, device=device).to(dtype).requires_grad_() for shape in shapes]
    # empty rows at the end, as in a bucket
    rows = Packed(starts_of((*LENGTHS, 0, 0)).to(device), 128, public)
    seen = attend_packed(*tensors, rows, 0.3)[0]  # pyright: ignore[reportCallIssue]
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


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_on_a_processor_packed_rows_give_the_same_numbers_and_gradients(folder_of, name):
    plain = load_causal(folder_of(name), dtype=torch.float32, device="cpu")
    with packing_on_cpu():
        backbone = load_causal(folder_of(name), dtype=torch.float32, device="cpu")
    assert backbone.unpadded
    plain.unpadded, plain.fused = 0, False
    batch = batch_of((3, 20, 1, 9))
    expected, gradient = learned(plain, batch)
    with packing_on_cpu():
        seen, other = learned(backbone, batch.with_packed())
        hidden = backbone.hidden(batch)[batch.attention_mask]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(other, gradient, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hidden, plain.hidden(batch)[batch.attention_mask], atol=1e-4, rtol=1e-4)


def learned(backbone, batch):
    backbone.zero_grad()
    device = backbone.device.type
    with torch.autocast("cuda", dtype=torch.bfloat16) if device == "cuda" else nullcontext():
        chosen, _ = backbone.log_probs(batch)
    (chosen * torch.linspace(0.5, 1, len(chosen), device=device)).sum().backward()
    return chosen.detach(), torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])


@ON_GPU
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_models_learn_the_same_without_padding(folder_of, name, compiled, public):
    backbone = load_causal(folder_of(name), dtype=torch.float32, device="cuda")
    assert backbone.skips_padding(half=True)
    assert not backbone.skips_padding(half=False)
    plain = copy.deepcopy(backbone)
    plain.unpadded = 0
    if public:
        use_public_attention([backbone])
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
