"""Weights that were saved with NaN in them are refused where they are loaded: a model's, an adapter's, a head's."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from steersman.errors import NotFinite
from steersman.models.adapters import add_lora, load_adapter, save_adapter
from steersman.models.heads import RewardHead, load_heads, save_heads
from steersman.models.loading import load_causal
from steersman.models.tiny import write_tiny_model


def poison(path, name):
    tensors = load_file(path)
    tensors[name].view(-1)[-1] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_model_is_refused(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    poison(folder / "model.safetensors", "model.norm.weight")
    with pytest.raises(NotFinite, match=r"1 tensors, the first: model\.norm\.weight.*Use another copy"):
        load_causal(folder, dtype=torch.float32, device="cpu")


def test_an_adapter_is_refused(tiny, tmp_path):
    backbone = load_causal(tiny("llama"), dtype=torch.float32, device="cpu")
    add_lora(backbone, "policy", rank=2, alpha=4, dropout=0.0, targets=["q_proj"])
    save_adapter(backbone, "policy", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    poison(file, next(iter(load_file(file))))
    with pytest.raises(NotFinite, match="adapter' hold NaN, infinity"):
        load_adapter(backbone, "other", tmp_path / "adapter")


def test_a_head_is_refused(tmp_path):
    head = RewardHead(4, heads=1)
    head.weight.data[0, 1] = float("inf")
    save_heads({"score": head}, tmp_path)
    with pytest.raises(NotFinite, match=r"the first: score\.weight"):
        load_heads({"score": RewardHead(4, heads=1)}, tmp_path)
