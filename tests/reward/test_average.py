"""The mean of several reward models' weights."""

import copy

import pytest
import torch

from steersman.errors import ModelError
from steersman.models.adapters import add_lora
from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, new_reward_model
from steersman.models.tiny import write_tiny_model
from steersman.reward.average import average_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "llama", "llama")


def fresh(folder):
    return new_reward_model(load_causal(folder, dtype=torch.float32, device="cpu"))


def test_the_average_has_the_mean_of_every_weight_and_changes_none_of_the_given(folder):
    one = fresh(folder)
    other = copy.deepcopy(one)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 1.0
    one.scale = Scale(3.0, 2.0)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    third = copy.deepcopy(one)
    found = average_weights([one, other, third])
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, before[name] + 1 / 3, atol=1e-6), name
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_the_average_of_a_model_with_itself_is_that_model(folder):
    model = fresh(folder)
    found = average_weights([model, model])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state_dict().items())


def test_what_cannot_be_averaged_says_why(folder, tmp_path):
    with pytest.raises(ModelError, match="two reward models or more; seen 1"):
        average_weights([fresh(folder)])
    wider = fresh(write_tiny_model(tmp_path / "wide", "llama", hidden=48))
    with pytest.raises(ModelError, match="model 2 has other weights than model 1, such as"):
        average_weights([fresh(folder), wider])
    two_heads = new_reward_model(load_causal(folder, dtype=torch.float32, device="cpu"), heads=2)
    with pytest.raises(ModelError, match=r"head\.weight"):
        average_weights([fresh(folder), two_heads])
    base = load_causal(folder, dtype=torch.float32, device="cpu")
    add_lora(base, "reward", rank=2, alpha=4)
    adapter = new_reward_model(base, adapter="reward")
    with pytest.raises(ModelError, match="adapter of the mean"):
        average_weights([adapter, adapter])
