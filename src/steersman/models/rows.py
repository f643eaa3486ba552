"""Rows through a model in micro-batches of like length; results in the order of the rows."""

from collections.abc import Callable, Sequence

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
        for members in padded_groups([row.lengths for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(device)
            found.append(model(batch).double().cpu())
            places += members
    return torch.cat(found)[torch.tensor(places).argsort()]


def padded_groups(lengths: Sequence[Sequence[int]], token_budget: int) -> list[list[int]]:
    """Which units go through a model together, by their places: the longest first (if memory is short, it is at once).

    `lengths` has the rows of each unit. A group's padded tokens, its rows times the longest of them, are at most the
    budget; a unit above the budget goes alone.
    """
    order = sorted(range(len(lengths)), key=lambda place: -max(lengths[place]))
    groups: list[list[int]] = []
    rows = widest = 0
    for place in order:
        rows, widest = rows + len(lengths[place]), max(widest, *lengths[place])
        if groups and rows * widest <= token_budget:
            groups[-1].append(place)
        else:
            groups.append([place])
            rows, widest = len(lengths[place]), max(lengths[place])
    return groups


def log_probs_of(
    rows: Sequence[TokenRow], reference: Backbone | None, pad_id: int, token_budget: int
) -> list[NDArray[np.float32]]:
    """Of each target of each row; 0 without a reference."""
    found = [np.zeros(row.targets, np.float32) for row in rows]
    if reference is None:
        return found
    with torch.no_grad():
        for members in padded_groups([row.lengths for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(reference.device)
            flat = reference.log_probs(batch)[0].float().cpu()
            for i, values in zip(members, flat.split([rows[i].targets for i in members]), strict=True):
                found[i] = values.numpy().copy()
    return found
