"""Tiny random models of every family, written once a session."""

from pathlib import Path

import pytest
import torch

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.models.loading import load_causal
from steersman.models.tiny import FAMILIES, write_tiny_model


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """The folder of a family's tiny model."""
    root = tmp_path_factory.mktemp("tiny")
    written: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in written:
            written[family] = write_tiny_model(root / family, family)
        return written[family]

    return folder


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture
def load(folder_of):
    def load_family(family: str):
        return load_causal(folder_of(family), dtype=torch.float32, device="cpu")

    return load_family


@pytest.fixture
def rows() -> list[TokenRow]:
    """Rows longer than the sliding windows of the tiny models (8), and one of a single token."""
    lengths = (20, 12, 30, 5, 1)
    return [TokenRow(torch.randint(6, 300, (n,)), torch.arange(n) > n // 2) for n in lengths]


@pytest.fixture
def batch(rows) -> TokenBatch:
    return pad_rows(rows, pad_id=1)
