"""Few shapes for packed rows, so that one recording of a pass serves many batches."""

from steersman.batches import Bucket, TokenBatch, bound_of

# Sizes are rounded up to a multiple of this share of the power of two below them: an eighth is at most 12 % more.
_STEPS = 8
# The least step, and the step of the number of rows.
_LEAST, _ROWS = 64, 8


def bucket_of(batch: TokenBatch) -> Bucket:
    """The bucket of a batch on the CPU. Rows that fill it up are as long as the longest row may be."""
    lengths: list[int] = batch.lengths.tolist()
    real, bound = sum(lengths), bound_of(max(lengths, default=0))
    step = step_of(real)
    return Bucket(
        tokens=rounded_up(real),
        rows=-(-(len(lengths) + -(-step // bound)) // _ROWS) * _ROWS,
        targets=rounded_up(int(batch.loss_mask.sum())),
    )


def rounded_up(size: int) -> int:
    step = step_of(size)
    return max(1, -(-size // step)) * step


def step_of(size: int) -> int:
    return max(_LEAST, (1 << max(0, size.bit_length() - 1)) // _STEPS)
