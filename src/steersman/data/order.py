"""Data order as pure functions of (count, seed, epoch or step), so that a resumed run needs no saved sampler state.

Philox is counter-based: the permutation of epoch 7 does not require those of epochs 0 to 6.
"""

import numpy as np
from numpy.typing import NDArray

from steersman.errors import DataError, UsageError


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows 0 … count-1 in the order of one epoch."""
    if count < 1:
        raise DataError("no rows to shuffle; expected at least one (see the report of the rows left out)")
    if epoch < 0:
        raise UsageError(f"epochs are counted from 0; seen {epoch}")
    # The key is the seed, the counter's highest word the epoch, so streams never overlap (Salmon et al. 2011).
    philox = np.random.Philox(key=np.uint64(seed % 2**64), counter=np.array([0, 0, 0, epoch], dtype=np.uint64))
    return np.random.Generator(philox).permutation(count).astype(np.int64, copy=False)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches per epoch. The last may be smaller."""
    if batch_size < 1:
        raise UsageError(f"a batch needs at least one row; seen batch_size={batch_size}")
    return -(-count // batch_size)


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Row indices of one step (counted from 0). An epoch's last batch may be smaller, so that every row is used exactly
    once per epoch and no batch has rows of two epochs."""
    if step < 0:
        raise UsageError(f"steps are counted from 0; seen {step}")
    epoch, batch = divmod(step, max(1, steps_per_epoch(count, batch_size)))
    return epoch_order(count, seed, epoch)[batch * batch_size : (batch + 1) * batch_size]
