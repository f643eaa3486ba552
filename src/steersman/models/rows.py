"""Forward passes over rows in micro-batches of similar length; results are in the order of the rows."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.models.backbone import Backbone


def run_rows(
    rows: Sequence[TokenRow],
    model: Callable[[TokenBatch], Float[Tensor, "batch numbers"]],
    *,
    pad_id: int,
    token_budget: int,
    device: torch.device | str,
) -> Float[Tensor, "items numbers"]:
    """The model's outputs for each row, in float64 on the CPU. Micro-batches depend on the rows' lengths alone."""
    outputs: list[Tensor] = []
    order: list[int] = []
    with torch.no_grad():
        for members in padded_groups([row.lengths for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(device)
            outputs.append(model(batch).double().cpu())
            order += members
    return torch.cat(outputs)[torch.tensor(order).argsort()]


def padded_groups(lengths: Sequence[Sequence[int]], token_budget: int) -> list[list[int]]:
    """Indices of the units of each micro-batch, longest first: memory runs out at the beginning or not at all.

    `lengths` has the row lengths of each unit. A micro-batch's padded tokens, its rows times the longest of them, are
    at most the budget; a unit above the budget goes alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: -max(lengths[i]))
    groups: list[list[int]] = []
    rows = longest = 0
    for i in order:
        rows, longest = rows + len(lengths[i]), max(longest, *lengths[i])
        if groups and rows * longest <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
            rows, longest = len(lengths[i]), max(lengths[i])
    return groups


def log_probs_of(
    rows: Sequence[TokenRow], reference: Backbone | None, pad_id: int, token_budget: int
) -> list[NDArray[np.float32]]:
    """The reference's log-probs of each row's targets; 0 without a reference."""
    log_probs = [np.zeros(row.targets, np.float32) for row in rows]
    if reference is None:
        return log_probs
    with torch.no_grad():
        for members in padded_groups([row.lengths for row in rows], token_budget):
            batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(reference.device)
            flat = reference.log_probs(batch)[0].float().cpu()
            for i, values in zip(members, flat.split([rows[i].targets for i in members]), strict=True):
                log_probs[i] = values.numpy().copy()
    return log_probs
