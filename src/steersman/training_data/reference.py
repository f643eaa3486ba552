"""A reference's log-probs of each answer, computed once before training and cached under a hash of their inputs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.batches import TokenRow
from steersman.errors import DataError
from steersman.models.backbone import Backbone
from steersman.models.rows import log_probs_of
from steersman.parallel.world import World

_MANY = 4096
"""Rows that are sorted by length together, so that memory does not grow with the data."""


class ReferenceLogProbs:
    """The reference's log-prob of each target of each row, read from disk when asked for."""

    def __init__(self, path: Path, targets: Sequence[int]) -> None:
        self._starts: NDArray[np.int64] = np.cumsum([0, *targets])
        expected = int(self._starts[-1]) * 4
        if path.stat().st_size != expected:
            raise DataError(
                f"{path}: {path.stat().st_size} bytes where {expected} are expected; delete it and run the same "
                "command again"
            )
        self._values = (
            np.memmap(path, np.float32, "r", shape=(int(self._starts[-1]),)) if expected else np.zeros(0, np.float32)
        )

    def of(self, rows: Sequence[int]) -> torch.Tensor:
        """The log-probs of these rows, concatenated."""
        parts = [self._values[self._starts[i] : self._starts[i + 1]] for i in rows]
        return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *parts]))


def key_of(**facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def shared_log_probs(
    rows: Sequence[TokenRow], reference: Backbone | None, *, pad_id: int, token_budget: int, world: World
) -> list[NDArray[np.float32]]:
    """The reference's log-probs of each row's targets. Each process computes a share with its own whole reference, and
    all receive the whole."""
    shares = world.exchange(log_probs_of(rows[world.rank :: world.size], reference, pad_id, token_budget))
    return [shares[i % world.size][i // world.size] for i in range(len(rows))]


def reference_log_probs(
    count: int,
    row: Callable[[int], TokenRow],
    reference: Backbone | None,
    path: Path,
    *,
    pad_id: int,
    token_budget: int,
    world: World,
) -> ReferenceLogProbs:
    """Read from `path`, or computed (each process a share) and written there.

    Without a reference all log-probs are 0.
    """
    if not all(world.exchange(path.exists())):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        with aside.open("wb") if world.first else nullcontext() as file:
            for start in range(0, count, _MANY):
                part = [row(i) for i in range(start, min(start + _MANY, count))]
                found = shared_log_probs(part, reference, pad_id=pad_id, token_budget=token_budget, world=world)
                if file is not None:
                    file.writelines(values.tobytes() for values in found)
        if world.first:
            aside.rename(path)
        world.barrier()
    return ReferenceLogProbs(path, [row(i).targets for i in range(count)])
