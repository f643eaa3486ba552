"""In which order rows are seen: pure functions of (count, seed, epoch or step), so that a resumed run needs no saved state.

Philox is counter-based: epoch 7's permutation needs no walk through epochs 0 to 6.
"""

import numpy as np
from numpy.typing import NDArray

from steersman.errors import DataError, UsageError


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows 0 … count-1 in the order of one epoch."""
    if count < 1:
        raise DataError("no rows to put in order; expected at least one (see the report of the rows left out)")
    if epoch < 0:
        raise UsageError(f"epochs are counted from 0; seen {epoch}")
    # The key is the seed, the counter's highest word the epoch: streams never meet (Salmon et al. 2011).
    philox = np.random.Philox(key=np.uint64(seed % 2**64), counter=np.array([0, 0, 0, epoch], dtype=np.uint64))
    return np.random.Generator(philox).permutation(count).astype(np.int64, copy=False)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches one epoch has; the last may be smaller."""
    if batch_size < 1:
        raise UsageError(f"a batch has at least one row; seen batch_size={batch_size}")
    return -(-count // batch_size)


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """The rows of one step (counted from 0). An epoch's last, partial batch stays its own smaller batch, so that every
    row is seen exactly once an epoch and no batch holds rows of two epochs."""
    if step < 0:
        raise UsageError(f"steps are counted from 0; seen {step}")
    epoch, place = divmod(step, max(1, steps_per_epoch(count, batch_size)))
    return epoch_order(count, seed, epoch)[place * batch_size : (place + 1) * batch_size]
