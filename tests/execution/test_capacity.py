"""How many tokens a micro-batch holds on a GPU, by the memory that is free."""

from unittest import mock

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from steersman.costs.memory import learning
from steersman.costs.shape import Shape, shape_of_config
from steersman.execution.capacity import FEWEST_TOKENS, MOST_TOKENS, card_token_budget, tokens_in
from steersman.execution.context import RunContext
from steersman.models.backbone import Backbone, Readout
from steersman.parallel.world import World
from steersman.settings.parts import ComputeSettings

CONFIG = LlamaConfig(vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
# Numbers that a layer keeps for a token: 2 * 64 hidden, 2 * 64 queries, 2 * 64 keys, 2 * 128 between, and 2 * 64 of
# attention; two layers, in float32.
A_TOKEN = 4 * 2 * (2 * 64 + 2 * 64 + 2 * 64 + 2 * 128 + 2 * 64)


def shape() -> Shape:
    return shape_of_config(CONFIG.to_dict(), name="tiny")


def model() -> nn.Module:
    return nn.ModuleList([Backbone(LlamaForCausalLM(CONFIG), name="tiny", readout=Readout(None, 1.0), packing=None)])


def budget(monkeypatch, free: float, *, device: str = "cuda", tokens: int | None = None, states="float32") -> int:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), int(2 * free)))
    run = mock.Mock(spec=RunContext, token_budget=tokens or 16384, device=torch.device(device), world=World.alone())
    settings = ComputeSettings(tokens_per_micro_batch=tokens)
    return card_token_budget(run, model(), settings, states, checkpointing=False)


def test_what_is_free_decides_and_is_a_power_of_two(monkeypatch):
    found = [budget(monkeypatch, free) for free in (1e6, 1e8, 2e8, 4e8, 1e12)]
    assert found == sorted(found)
    assert found[0] == FEWEST_TOKENS
    assert found[-1] == MOST_TOKENS
    assert all(number & (number - 1) == 0 for number in found)
    assert FEWEST_TOKENS < found[1] < found[3] < MOST_TOKENS


def test_activations_take_a_quarter_of_what_gradients_and_moments_leave():
    learns = learning(10**6)
    assert learns.total == 12e6
    assert tokens_in(4 * 8192 * A_TOKEN + 12e6, shape(), learns, checkpointing=False) == 8192
    assert tokens_in(4 * 8192 * A_TOKEN + 11e6, shape(), learns, checkpointing=False) == 4096


def test_moments_in_8_bits_leave_more(monkeypatch):
    trained = sum(p.numel() for p in model().parameters())
    assert learning(trained, "8bit").optimiser == pytest.approx(2.03125 * trained)
    assert learning(trained).optimiser == 8 * trained
    edge = 4 * 32768 * A_TOKEN + 12 * trained
    assert budget(monkeypatch, edge - 1) == 16384
    assert budget(monkeypatch, edge - 1, states="8bit") == 32768


def test_a_number_in_the_settings_and_a_cpu_are_left_alone(monkeypatch):
    assert budget(monkeypatch, 1e12, tokens=4096) == 4096
    assert budget(monkeypatch, 1e12, device="cpu") == 16384
