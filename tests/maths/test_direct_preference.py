"""DPO and its relatives: numbers worked by hand, fixed points, symmetry, and a slow reference in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.direct_preference import (
    apo_down_loss,
    apo_zero_loss,
    desensitised,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    log_odds,
    odds_ratio_loss,
    robust_loss,
    simpo_loss,
    smoothed,
)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slow_sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_by_hand():
    # beta * gap = 0.1 * 10 = 1: -log(1 / (1 + e^-1)) = log(1 + 0.367879) = 0.313262
    assert dpo_loss(f64(10), f64(1), beta=0.1, margin=f64(0)).item() == pytest.approx(0.313262, abs=1e-6)
    # no gap: log 2, whoever won
    assert dpo_loss(f64(0, 0), f64(1, 0), beta=0.1, margin=f64(0, 0)).tolist() == pytest.approx([math.log(2)] * 2)
    # a grade of 1 eats the lead of 1
    assert dpo_loss(f64(10), f64(1), beta=0.1, margin=f64(1)).item() == pytest.approx(math.log(2))


def test_smoothing_is_the_loss_under_labels_that_are_wrong_now_and_then():
    gap, epsilon, beta = f64(3, -2), 0.1, 0.5
    target = smoothed(f64(1, 0), epsilon)
    assert target.tolist() == pytest.approx([0.9, 0.1])
    found = dpo_loss(gap, target, beta=beta, margin=f64(0, 0))
    slow = [
        -0.9 * math.log(slow_sigmoid(1.5)) - 0.1 * math.log(slow_sigmoid(-1.5)),
        -0.1 * math.log(slow_sigmoid(-1.0)) - 0.9 * math.log(slow_sigmoid(1.0)),
    ]
    assert found.tolist() == pytest.approx(slow, abs=1e-9)


def test_the_smoothed_loss_is_lowest_where_the_policy_believes_the_labels_as_far_as_they_are_right():
    # sigmoid(beta * gap) = 1 - epsilon, so gap = log(0.9 / 0.1) / beta
    gap = f64(0.0).requires_grad_()
    best = math.log(0.9 / 0.1) / 0.2
    at_best = torch.tensor([best], dtype=torch.float64, requires_grad=True)
    dpo_loss(at_best, smoothed(f64(1), 0.1), beta=0.2, margin=f64(0)).sum().backward()
    assert at_best.grad is not None
    assert at_best.grad.item() == pytest.approx(0.0, abs=1e-12)
    dpo_loss(gap, smoothed(f64(1), 0.1), beta=0.2, margin=f64(0)).sum().backward()
    assert gap.grad is not None
    assert gap.grad.item() < 0


@given(gap=st.floats(-8, 8), epsilon=st.floats(0.01, 0.45))
def test_the_robust_loss_under_flipped_labels_is_on_average_the_loss_on_the_true_ones(gap: float, epsilon: float):
    right, wrong = (robust_loss(f64(gap), f64(t), beta=1.0, epsilon=epsilon).item() for t in (1, 0))
    clean = dpo_loss(f64(gap), f64(1), beta=1.0, margin=f64(0)).item()
    assert (1 - epsilon) * right + epsilon * wrong == pytest.approx(clean, abs=1e-8)


@given(target=st.floats(0, 1), beta=st.floats(0.05, 2))
def test_ipo_rests_at_a_finite_gap(target: float, beta: float):
    best = torch.tensor([(2 * target - 1) / (2 * beta)], dtype=torch.float64, requires_grad=True)
    ipo_loss(best, f64(target), beta=beta).sum().backward()
    assert best.grad is not None
    assert best.grad.item() == pytest.approx(0.0, abs=1e-9)


def test_ipo_hinge_and_simpo_by_hand():
    # 1 / (2 * 0.5) = 1: (3 - 1)^2 = 4, and the other way (-3 - 1)^2 = 16
    assert ipo_loss(f64(3, 3), f64(1, 0), beta=0.5).tolist() == pytest.approx([4, 16])
    assert hinge_loss(f64(1, 3, -1), f64(1, 1, 1), beta=0.5).tolist() == pytest.approx([0.5, 0, 1.5])
    # 2 * 0.5 - 0.4 = 0.6: -log sigmoid(0.6) = 0.437488
    assert simpo_loss(f64(0.5), f64(1), beta=2.0, gamma=0.4).item() == pytest.approx(0.437488, abs=1e-6)


def test_apo_by_hand():
    # beta * r = 1 of the better and -0.5 of the worse answer: sigmoid(-1) = 0.268941 and sigmoid(-0.5) = 0.377541
    better, worse = f64(2), f64(-1)
    assert apo_zero_loss(better, worse, f64(1), beta=0.5).item() == pytest.approx(0.268941 + 0.377541, abs=1e-6)
    # sigmoid(1) = 0.731059 and 1 - sigmoid(1.5) = 0.182426
    assert apo_down_loss(better, worse, f64(1), beta=0.5).item() == pytest.approx(0.731059 + 0.182426, abs=1e-6)
    # the second is better: sigmoid(0.5) = 0.622459, sigmoid(1) and sigmoid(-0.5), sigmoid(1.5) = 0.817574
    assert apo_zero_loss(better, worse, f64(0), beta=0.5).item() == pytest.approx(0.622459 + 0.731059, abs=1e-6)
    assert apo_down_loss(better, worse, f64(0), beta=0.5).item() == pytest.approx(0.377541 + 0.817574, abs=1e-6)


def test_the_odds_ratio_by_hand():
    # p = 0.5 has odds 1; p = 0.2 has odds 0.25; the ratio 4: -log(4 / 5)
    mean = f64(math.log(0.5), math.log(0.2))
    odds = log_odds(mean)
    assert odds.tolist() == pytest.approx([0.0, math.log(0.25)])
    gap = odds[:1] - odds[1:]
    assert odds_ratio_loss(gap, f64(1)).item() == pytest.approx(-math.log(0.8))
    assert odds_ratio_loss(gap, f64(0)).item() == pytest.approx(-math.log(0.2))


def test_kto_by_hand():
    # beta * (2 - 1) = 0.5; liked: 1 - sigmoid(0.5) = 0.377541; disliked: 1 - sigmoid(-0.5) = 0.622459
    found = kto_loss(f64(2, 2), torch.tensor([True, False]), torch.tensor(1.0, dtype=torch.float64), beta=0.5)
    assert found.tolist() == pytest.approx([0.377541, 0.622459], abs=1e-6)


def test_tokens_past_the_shared_length_count_less():
    found = desensitised(f64(-1, -2, -3), f64(0, 1, 2), f64(2, 2, 2), alpha=0.5)
    assert found.tolist() == [-1, -2, -1.5]


@given(gap=st.floats(-5, 5), target=st.floats(0, 1))
def test_to_swap_the_answers_is_to_turn_the_label(gap: float, target: float):
    there, back = f64(gap), f64(-gap)
    one, other = f64(target), f64(1 - target)
    for loss in (
        lambda g, t: dpo_loss(g, t, beta=0.7, margin=f64(0.2)),
        lambda g, t: robust_loss(g, t, beta=0.7, epsilon=0.2),
        lambda g, t: ipo_loss(g, t, beta=0.7),
        lambda g, t: hinge_loss(g, t, beta=0.7),
        lambda g, t: simpo_loss(g, t, beta=0.7, gamma=0.3),
    ):
        assert loss(there, one).item() == pytest.approx(loss(back, other).item(), abs=1e-9)
