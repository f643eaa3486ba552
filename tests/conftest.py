"""What every test shares: deterministic seeds and no network."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not Path("/dev/nvidiactl").exists():
    # A GPU's kernels are tested without one: Triton reads this when it is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same torch seed, so that a failure can be run again."""
    import torch

    torch.manual_seed(0)


QUICK_FAMILIES = ("gpt2", "llama")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is asked of every family of models is asked of two of them in `make check`, and of all in `make test`."""
    from steersman.models.tiny import FAMILIES

    for item in items:
        callspec = getattr(item, "callspec", None)
        family = callspec.params.get("family") if callspec else None
        if family in FAMILIES and family not in QUICK_FAMILIES:
            item.add_marker(pytest.mark.slow)
