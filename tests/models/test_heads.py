"""Heads start where the papers say, read the right position and survive a file."""

import pytest
import torch

from steersman.errors import ModelError
from steersman.models.files import HEADS
from steersman.models.heads import RewardHead, ValueHead, last_token_hidden, load_heads, save_heads


def test_a_value_head_starts_at_zero_and_learns():
    head = ValueHead(8)
    hidden = torch.randn(2, 5, 8)
    values = head(hidden)
    assert values.shape == (2, 5)
    assert not values.any()
    (values - 1).square().sum().backward()
    assert head.weight.grad is not None
    assert head.weight.grad.any()


def test_a_reward_head_starts_small():
    head = RewardHead(4095, heads=4)
    # N(0, 1 / sqrt(4096)) = N(0, 0.0156)
    assert float(head.weight.detach().std()) == pytest.approx(1 / 64, rel=0.05)
    assert head.heads == 4


def test_heads_work_in_float32_under_autocast():
    hidden = torch.randn(3, 8)
    head = RewardHead(8, heads=2)
    expected = hidden @ head.weight.T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(head(hidden), expected, atol=1e-6)
    assert head(hidden.bfloat16()).dtype == torch.float32


def test_the_last_real_token_is_read():
    hidden = torch.arange(12.0).view(2, 3, 2)
    # row 0 has two tokens: position 1 holds 2, 3; row 1 has three: position 2 holds 10, 11
    assert last_token_hidden(hidden, torch.tensor([2, 3])).tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_a_critic_can_start_from_a_reward_model():
    value, reward = ValueHead(8), RewardHead(8, heads=2)
    value.start_from(reward, mean=2.0, std=4.0)
    hidden = torch.randn(5, 8)
    assert torch.allclose(value(hidden), (reward(hidden).mean(1) - 2) / 4, atol=1e-6)


def test_heads_survive_a_file(tmp_path):
    heads = {"value": ValueHead(8), "score": RewardHead(8, heads=3)}
    torch.nn.init.normal_(heads["value"].weight)
    save_heads(heads, tmp_path / "new")
    again = {"value": ValueHead(8), "score": RewardHead(8, heads=3)}
    load_heads(again, tmp_path / "new")
    for name, head in heads.items():
        for one, two in zip(head.parameters(), again[name].parameters(), strict=True):
            assert one.equal(two)


def test_heads_that_do_not_fit_are_said(tmp_path):
    save_heads({"score": RewardHead(8, heads=1)}, tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_heads({"score": RewardHead(9, heads=1)}, tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_heads({"value": ValueHead(8)}, tmp_path)
    (tmp_path / HEADS).write_bytes(b"x")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_heads({"score": RewardHead(8, heads=1)}, tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_heads({"score": RewardHead(8, heads=1)}, tmp_path / "nowhere")
