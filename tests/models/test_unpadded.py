"""Rows concatenated without padding give what each gives by itself: values, gradients, and no more tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.errors import ModelError
from steersman.models import row_attention
from steersman.models.loading import load_causal
from steersman.models.row_attention import RowLayout
from steersman.models.tiny import FAMILIES, write_tiny_model
from steersman.models.trials import find_unpadded
from steersman.models.unpadded import attend_by_row, lay_out, rounded, to_batch_shape
from steersman.train.kernels import using

ROW_LENGTHS = (3, 8, 1, 5)


LONG_ENOUGH = [family for family in FAMILIES if family not in ("gemma3", "mistral")]
"""The families whose tiny models read rows long enough to have much in common: the others have a window of 8."""


def short_rows() -> TokenBatch:
    """Rows of at most 8 tokens: the tiny models with a sliding window have one of 8."""
    generator = torch.Generator().manual_seed(5)
    rows = [TokenRow(torch.randint(2, 300, (n,), generator=generator), torch.arange(n) > 0) for n in ROW_LENGTHS]
    return pad_rows(rows, pad_id=1, pad_multiple=4)


def learned(backbone, batch: TokenBatch):
    """Log-probabilities, and the gradient of an uneven sum of them."""
    backbone.zero_grad()
    chosen, _ = backbone.log_probs(batch)
    (chosen * torch.arange(1.0, len(chosen) + 1)).sum().backward()
    return chosen.detach(), {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


def test_without_padding_every_family_gives_the_same_values_and_gradients(load, family):
    backbone, batch = load(family), short_rows()
    assert backbone.skips_padding(half=False), "all of these are computed without padding"
    seen = []
    backbone.trunk.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    chosen, gradients = learned(backbone, batch)
    backbone.unpadded = 0
    expected, expected_gradients = learned(backbone, batch)
    assert seen == [(1, 32), (4, 8)], "17 real tokens, rounded up to 32"
    assert torch.allclose(chosen, expected, atol=1e-5)
    largest = max(float(g.abs().max()) for g in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5 * largest), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradient_checkpointing_and_autocast_stay_possible(load, family):
    backbone, batch = load(family).train(), short_rows()
    expected, gradients = learned(backbone, batch)
    backbone.use_gradient_checkpointing(True)
    again, gradients_again = learned(backbone, batch)
    assert torch.equal(again, expected)
    assert all(torch.allclose(gradients_again[name], g, atol=1e-6, rtol=1e-4) for name, g in gradients.items())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = learned(backbone, batch)
    assert torch.allclose(rough.float(), expected, atol=0.1, rtol=0.1)


def test_rows_longer_than_a_window_go_with_their_padding(load, rows, monkeypatch):
    backbone = load("mistral")
    assert backbone.unpadded == 8
    seen = []
    backbone.trunk.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    with torch.no_grad():
        backbone.hidden(pad_rows(rows, pad_id=1))
    assert seen == [(len(rows), max(len(row.ids) for row in rows))]


def test_a_model_whose_rows_would_see_one_another_is_padded(tmp_path, monkeypatch):
    backbone = load_causal(write_tiny_model(tmp_path / "model"), dtype=torch.float32, device="cpu")
    assert find_unpadded(backbone) > 0
    forward = backbone.trunk.forward
    monkeypatch.setattr(backbone.trunk, "forward", lambda rows=None, **rest: forward(**rest))
    assert find_unpadded(backbone) == 0, "rows that are dropped on the way are noticed"
    monkeypatch.setattr(backbone.trunk, "forward", lambda input_ids, use_cache: forward(input_ids=input_ids))
    assert find_unpadded(backbone) == 0, "so is a model that does not take them"
    monkeypatch.setattr(backbone.config, "_attn_implementation", "eager")
    assert find_unpadded(backbone) == 0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_laying_out_and_spreading_lose_nothing(lengths: list[int]):
    ids = torch.arange(1, len(lengths) * 10 + 1).view(len(lengths), 10)
    real = torch.arange(10) < torch.tensor(lengths)[:, None]
    layout = lay_out(ids, real)
    assert sum(layout.rows.lengths) == layout.ids.shape[1] == layout.positions.shape[1] == rounded(sum(lengths))
    back = to_batch_shape(layout.ids[0, :, None].float(), layout.batch_index, len(lengths), 10)[..., 0]
    assert torch.equal(back, torch.where(real, ids, 0).float())


def test_what_rows_begin_with_in_common_is_laid_out_once():
    same = list(range(10, 22))
    ids = torch.tensor([[*same, 1, 2, 3], [*same, 1, 5, 0], [*same[:9], 7, 8, 9, 0, 0, 0], [*same[:4], 6, *[0] * 10]])
    lengths = torch.tensor([15, 14, 12, 5])
    real = torch.arange(15) < lengths[:, None]
    assert lay_out(ids, real).rows == RowLayout.separate((15, 14, 12, 5, 2)), "all is read, so that all is laid out"
    layout = lay_out(ids, real, torch.tensor([3, 3, 1, 2]), cut=True)
    # 13 tokens in common, two of which are read; 9 with the row before; 4 are too few to share, and begin anew
    assert layout.rows.shared == ((0, 0), (0, 11), (0, 9), (3, 0), (4, 0))
    assert layout.rows.lengths == (15, 3, 3, 5, 6)
    assert layout.rows.query_counts == (3, 3, 1, 2, 0)
    assert layout.ids[0, :26].tolist() == [*same, 1, 2, 3, 21, 1, 5, 7, 8, 9, *same[:4], 6]
    assert layout.positions[0, 15:21].tolist() == [11, 12, 13, 9, 10, 11]
    read = [(0, 12), (0, 13), (0, 14), (1, 11), (1, 12), (1, 13), (2, 11), (3, 3), (3, 4)]
    assert layout.batch_index.tolist() == [row * 15 + position for row, position in read]


@pytest.mark.parametrize("family", LONG_ENOUGH)
@pytest.mark.parametrize("short", [4, 160], ids=["long rows", "short rows"])
def test_tokens_in_common_are_computed_once_and_learn_the_same(load, family, monkeypatch, short):
    monkeypatch.setattr(row_attention, "SHORT", short)
    backbone = load(family)
    assert backbone.unpadded >= 16, "rows with enough in common are computed without padding"
    generator = torch.Generator().manual_seed(7)

    def draw(count: int) -> torch.Tensor:
        return torch.randint(2, 300, (count,), generator=generator)

    asked, other = draw(9), draw(10)
    ids = [torch.cat([prompt, draw(n)]) for prompt, n in ((asked, 4), (asked, 2), (asked, 6), (other, 3), (other, 1))]
    starts = [9, 9, 10, 10, 10]
    batch = pad_rows(
        [TokenRow(row, torch.arange(len(row)) >= start) for row, start in zip(ids, starts, strict=True)], pad_id=1
    )
    seen = []
    backbone.trunk.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    chosen, gradients = learned(backbone, batch)
    backbone.unpadded = 0
    expected, expected_gradients = learned(backbone, batch)
    assert seen == [48, 15], "63 real tokens, 34 after what is shared is left out"
    assert torch.allclose(chosen, expected, atol=1e-5)
    largest = max(float(g.abs().max()) for g in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5 * largest), name


def test_the_widths_that_occur_are_few_for_onednn_and_waste_little():
    # 16 apart up to 512; then 32, 64, ... apart: a width of 1120 is 1024 + 2 * 64 = 1152
    with using("onednn"):
        assert [rounded(n) for n in (0, 1, 16, 17, 500, 513, 1120, 5000)] == [0, 16, 16, 32, 512, 544, 1152, 5120]
        assert len({rounded(n) for n in range(513, 1025)}) == 16
    with using("default"):
        assert [rounded(n) for n in (0, 1, 16, 17, 1120, 5000)] == [0, 16, 16, 32, 1120, 5008]


def test_attention_by_row_is_causal_attention_of_each_row_with_grouped_keys():
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(1, 4, 9, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 2, 9, 8, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "kv")
    found, _ = attend_by_row(None, query, key, value, RowLayout.separate((2, 6, 1)), {"scaling": 0.3})
    parts = [
        scaled_dot_product_attention(
            query[:, :, span], key[:, :, span], value[:, :, span], is_causal=True, scale=0.3, enable_gqa=True
        )
        for span in (slice(0, 2), slice(2, 8), slice(8, 9))
    ]
    expected = torch.cat(parts, dim=2).transpose(1, 2)
    assert torch.allclose(found, expected)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((found * weights).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("rest", "lengths"), [({"softcap": 30.0}, (4,)), ({"dropout": 0.1}, (4,)), ({}, (3,))])
def test_what_attention_by_row_cannot_do_is_said(rest, lengths):
    tensor = torch.zeros(1, 2, 4, 8)
    with pytest.raises(ModelError, match="cannot be computed row by row"):
        attend_by_row(None, tensor, tensor, tensor, RowLayout.separate(lengths), rest)
