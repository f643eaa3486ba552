"""Where target tokens stand: gathering before and at them, and putting values back."""

import pytest
import torch

from steersman.maths.tokens import gather_at, gather_before, target_positions

LOSS_MASK = torch.tensor([[False, True, False, True], [False, False, True, False], [False, False, False, False]])


def test_golden_target_positions():
    found = target_positions(LOSS_MASK)
    assert found.row.tolist() == [0, 0, 1]
    assert found.position.tolist() == [1, 3, 2]
    assert found.before.tolist() == [0, 2, 1]


def test_a_target_at_position_zero_is_refused():
    with pytest.raises(ValueError, match="position 0 in 1 of 2 rows"):
        target_positions(torch.tensor([[False, True], [True, False]]))


def test_a_batch_without_columns_has_no_targets():
    assert len(target_positions(torch.zeros(2, 0, dtype=torch.bool)).row) == 0


def test_golden_gathering_at_and_before_each_target():
    ids = torch.arange(12).reshape(3, 4)
    assert gather_at(ids, LOSS_MASK).tolist() == [1, 3, 6]
    assert gather_before(ids, LOSS_MASK).tolist() == [0, 2, 5]
    states = torch.randn(3, 4, 2)
    assert torch.equal(gather_before(states, LOSS_MASK), torch.stack([states[0, 0], states[0, 2], states[1, 1]]))


def test_a_row_of_one_token_has_no_token_before_it_either():
    with pytest.raises(ValueError, match="True at position 0 in 1 of 1 rows"):
        target_positions(torch.tensor([[True]]))
    assert len(target_positions(torch.zeros(2, 0, dtype=torch.bool)).row) == 0
