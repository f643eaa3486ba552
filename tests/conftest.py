"""What every test shares: deterministic seeds and no network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same torch seed, so that a failure can be run again."""
    import torch

    torch.manual_seed(0)
