"""Q-learning over tokens: numbers worked by hand, fixed points, and a slow loop over rows in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.q_learning import (
    LARGEST_WEIGHT,
    expectile_loss,
    imitation_loss,
    next_values,
    td_loss,
    td_target,
)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_what_follows_a_rows_last_token_is_nothing():
    rows = torch.tensor([0, 0, 0, 1, 2, 2])
    assert next_values(f64(1, 2, 3, 4, 5, 6), rows).tolist() == [2, 3, 0, 0, 6, 0]
    assert next_values(f64(), rows[:0]).tolist() == []


def test_the_target_by_hand():
    # three tokens, a reward of 1 on the last and of 0.5 on the second; V = 2, 3, 4 and 0 at the end
    # 0 + 0.9 * 3 = 2.7;  0.5 + 0.9 * 4 = 4.1;  1 + 0.9 * 0 = 1
    following = next_values(f64(2, 3, 4), torch.tensor([0, 0, 0]))
    assert td_target(f64(0, 0.5, 1), following, discount=0.9).tolist() == pytest.approx([2.7, 4.1, 1.0])


def test_the_error_of_both_heads_is_counted():
    # (1 - 3)² + (4 - 3)² = 5;  (2 - 2)² + (0 - 2)² = 4
    q = torch.stack([f64(1, 2), f64(4, 0)])
    assert td_loss(q, f64(3, 2)).tolist() == [5, 4]


def test_expectiles_by_hand():
    # Q above V by 2: 0.7 * 4; below by 2: 0.3 * 4; equal: nothing
    assert expectile_loss(f64(2, -2, 0), expectile=0.7).tolist() == pytest.approx([2.8, 1.2, 0.0])


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 2.5), (0.9, 2.5 + 2.5 * 0.8), (0.1, 2.5 - 2.5 * 0.8)])
def test_the_expectile_of_two_tokens_has_its_fixed_point(expectile, expected):
    # Q of 0 and of 5, equally often: tau (5 - v) = (1 - tau) v, so that v = 5 tau
    v = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([v], lr=0.5)
    for _ in range(150):
        optimiser.zero_grad()
        expectile_loss(f64(0, 5) - v, expectile=expectile).mean().backward()
        optimiser.step()
    assert v.item() == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(5 * expectile)


def test_imitation_by_hand():
    log_probs = f64(math.log(0.5), math.log(0.25))
    assert imitation_loss(log_probs, f64(3, -3), beta=0.0).tolist() == pytest.approx([math.log(2), math.log(4)])
    # exp(0.5 * 2) = 2.718282 times log 2, and exp(-1) = 0.367879 times log 4
    found = imitation_loss(log_probs, f64(2, -2), beta=0.5).tolist()
    assert found == pytest.approx([2.718282 * math.log(2), 0.367879 * math.log(4)], rel=1e-5)
    assert imitation_loss(log_probs, f64(1e9, 0), beta=1.0)[0] == pytest.approx(LARGEST_WEIGHT * math.log(2))


def test_only_the_policy_learns_from_imitation():
    log_probs, advantage = f64(-1, -2).requires_grad_(), f64(0.5, -0.5).requires_grad_()
    imitation_loss(log_probs, advantage, beta=1.0).sum().backward()
    assert advantage.grad is None
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-math.exp(0.5), -math.exp(-0.5)])


numbers = st.floats(-5, 5)


@given(
    st.lists(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=6), min_size=1, max_size=5)
)
def test_the_losses_are_those_of_a_slow_loop(rows):
    """`rows` are answers of (reward, V, Q1, Q2) a token; the loop walks through each by itself, from its end."""
    discount, expectile = 0.9, 0.8
    td, values = 0.0, 0.0
    for row in rows:
        following = 0.0
        for reward, value, first, second in reversed(row):
            target = reward + discount * following
            td += (first - target) ** 2 + (second - target) ** 2
            gap = min(first, second) - value
            values += (expectile if gap >= 0 else 1 - expectile) * gap * gap
            following = value
    owner = torch.tensor([i for i, row in enumerate(rows) for _ in row])
    reward, value, first, second = f64(*(x for row in rows for token in row for x in token)).view(-1, 4).unbind(1)
    target = td_target(reward, next_values(value, owner), discount=discount)
    q = torch.stack([first, second])
    assert td_loss(q, target).sum().item() == pytest.approx(td, abs=1e-6)
    assert expectile_loss(q.amin(0) - value, expectile=expectile).sum().item() == pytest.approx(values, abs=1e-6)


@given(st.lists(numbers, min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_turning_the_expectile_and_the_advantage_round_changes_nothing(gaps, expectile):
    one = expectile_loss(f64(*gaps), expectile=expectile)
    two = expectile_loss(-f64(*gaps), expectile=1 - expectile)
    assert torch.allclose(one, two)


def test_a_far_better_token_weighs_100_at_most_and_its_weight_is_a_constant():
    advantage = torch.tensor([4.0, 5.0, -1.0], dtype=torch.float64, requires_grad=True)
    log_probs = torch.tensor([-1.0, -1.0, -2.0], dtype=torch.float64, requires_grad=True)
    loss = imitation_loss(log_probs, advantage, beta=1.0)
    # e^4 = 54.6, e^5 = 148 is cut, and 2 e^-1
    assert loss.tolist() == pytest.approx([math.exp(4), 100.0, 2 * math.exp(-1)])
    loss.sum().backward()
    assert advantage.grad is None
