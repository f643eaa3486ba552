"""Rows through a model in micro-batches of like length; results in the order of the rows."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.models.backbone import Backbone


def through(
    rows: Sequence[TokenRow],
    model: Callable[[TokenBatch], Float[Tensor, "batch numbers"]],
    *,
    pad_id: int,
    token_budget: int,
    device: torch.device | str,
) -> Float[Tensor, "items numbers"]:
    """What the model says of each row. Which rows share a micro-batch follows from their lengths alone."""
    found: list[Tensor] = []
    places: list[int] = []
    with torch.no_grad():
        for members in micro_batches([len(row.ids) for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(device)
            found.append(model(batch).double().cpu())
            places += members
    return torch.cat(found)[torch.tensor(places).argsort()]


def micro_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Rows of like length together, the longest first (if memory is short, it is at once), each batch within the budget
    of padded tokens, or a single row."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        fitting = max(1, token_budget // max(1, lengths[order[start]]))
        yield order[start : start + fitting]
        start += fitting


def log_probs_of(
    rows: Sequence[TokenRow], reference: Backbone | None, pad_id: int, token_budget: int
) -> list[NDArray[np.float32]]:
    """Of each target of each row; 0 without a reference."""
    found = [np.zeros(row.targets, np.float32) for row in rows]
    if reference is None:
        return found
    with torch.no_grad():
        for members in micro_batches([len(row.ids) for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(reference.device)
            flat = reference.log_probs(batch)[0].float().cpu()
            for i, values in zip(members, flat.split([rows[i].targets for i in members]), strict=True):
                found[i] = values.numpy().copy()
    return found
