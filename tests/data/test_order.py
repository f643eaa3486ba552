"""Orders are pure functions: every row once an epoch, the same after a resume, different between epochs and seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.data.order import epoch_order, rows_of_step, steps_per_epoch
from steersman.errors import DataError, UsageError


@given(count=st.integers(1, 200), seed=st.integers(0, 2**63), epoch=st.integers(0, 2**40))
def test_an_epoch_has_every_row_once(count, seed, epoch):
    assert sorted(epoch_order(count, seed, epoch).tolist()) == list(range(count))


@given(count=st.integers(1, 60), batch=st.integers(1, 70), seed=st.integers(0, 9))
def test_steps_lay_the_epochs_end_to_end(count, batch, seed):
    per_epoch = steps_per_epoch(count, batch)
    for epoch in range(2):
        rows = [rows_of_step(count, batch, seed, epoch * per_epoch + i) for i in range(per_epoch)]
        assert np.concatenate(rows).tolist() == epoch_order(count, seed, epoch).tolist()
        assert all(len(row) == batch for row in rows[:-1])
        assert len(rows[-1]) == count - batch * (per_epoch - 1)


def test_epochs_and_seeds_differ_and_repeat():
    orders = {(s, e): epoch_order(100, s, e).tolist() for s in range(5) for e in range(5)}
    assert len({tuple(order) for order in orders.values()}) == 25
    assert orders[3, 2] == epoch_order(100, 3, 2).tolist()


def test_every_place_is_as_likely_for_every_row():
    """Row 0's place in 4,000 epochs of 10 rows: each of ten places about 400 times (standard deviation 19)."""
    places = np.bincount([int(np.argmin(epoch_order(10, 1, epoch))) for epoch in range(4000)], minlength=10)
    assert np.abs(places - 400).max() < 100


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(DataError, match="no rows"):
        epoch_order(0, 0, 0)
    with pytest.raises(UsageError, match="epochs are counted from 0"):
        epoch_order(1, 0, -1)
    with pytest.raises(UsageError, match="steps are counted from 0"):
        rows_of_step(1, 1, 0, -1)
    with pytest.raises(UsageError, match="at least one row"):
        steps_per_epoch(3, 0)
