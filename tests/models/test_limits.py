"""A config that asks for more than any model has is refused before anything is built from it."""

import json

import pytest
import torch

from steersman.errors import ModelError
from steersman.models.loading import load_causal
from steersman.models.tiny import write_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    write_tiny_model(path, "llama")
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers=1,000,000; expected layers up to 10,000"),
        ({"num_hidden_layers": 9_999}, r"asks for 9,999 layers, but its files hold \d+ tensors"),
        ({"num_hidden_layers": -1}, "num_hidden_layers=-1"),
        ({"vocab_size": 10**12}, "vocab_size=1,000,000,000,000"),
        ({"intermediate_size": 10**15}, "intermediate_size="),
    ],
)
def test_a_config_beyond_every_model_is_a_message(folder, change, match):
    path = folder / "config.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | change))
        with pytest.raises(ModelError, match=match):
            load_causal(folder, dtype=torch.float32, device="cpu")
    finally:
        path.write_text(before)
    load_causal(folder, dtype=torch.float32, device="cpu")
