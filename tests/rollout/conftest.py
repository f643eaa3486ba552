"""Tiny models of every family, loaded once a session, and what a plain forward pass says about a sample."""

import pytest
import torch

from steersman.models.backbone import Backbone
from steersman.models.loading import load_causal
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.rollout.batch import Rollout


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """tiny("llama") is a tiny model with random weights; do not change its weights."""
    made: dict[tuple, Backbone] = {}

    def load(family: str, **settings) -> Backbone:
        key = (family, *sorted(settings.items()))
        if key not in made:
            folder = write_tiny_model(tmp_path_factory.mktemp(family), family, **settings)
            made[key] = load_causal(folder, dtype=torch.float32, device="cpu")
        return made[key]

    return load


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A model of its own, to be changed."""

    def load(family: str, **settings) -> Backbone:
        folder = write_tiny_model(tmp_path_factory.mktemp(family), family, **settings)
        return load_causal(folder, dtype=torch.float32, device="cpu")

    return load


@pytest.fixture(scope="session")
def tokeniser():
    return tiny_tokeniser()


@pytest.fixture
def plain_log_probs():
    """The log-probabilities of a sample's tokens by one pass of the whole sequence through the Hugging Face model."""

    def compute(backbone: Backbone, rollout: Rollout, temperature: float = 1.0) -> torch.Tensor:
        ids = torch.tensor([rollout.prompt_ids + rollout.ids])
        start = len(rollout.prompt_ids)
        with torch.no_grad():
            logits = backbone.hf(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
        return (logits / temperature).log_softmax(-1).gather(1, ids[0, start:, None]).squeeze(1)

    return compute
