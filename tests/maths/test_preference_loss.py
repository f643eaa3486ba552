"""Preference losses against plain references in float64, and the symmetries they must have."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steersman.maths.preference_loss import (
    approval_loss,
    bradley_terry_loss,
    centring_penalty,
    pair_loss,
)

scores_st = st.floats(-20, 20)
targets_st = st.floats(0, 1)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def plainly(first: float, second: float, target: float, margin: float) -> float:
    def minus_log_sigmoid(x: float) -> float:
        return math.log1p(math.exp(-x))

    gap = first - second
    return target * minus_log_sigmoid(gap - margin) + (1 - target) * minus_log_sigmoid(-gap - margin)


@given(scores_st, scores_st, targets_st, st.floats(0, 3))
def test_the_loss_equals_the_plain_one(first: float, second: float, target: float, margin: float):
    loss = bradley_terry_loss(one(first), one(second), one(target), one(margin)).item()
    assert loss == pytest.approx(plainly(first, second, target, margin), rel=1e-12, abs=1e-12)


def test_golden_pairs():
    # Equal scores: log 2. Gap log 3: -log(3/4) = 0.287682. Gap log 3, margin log 3: log 2 again.
    log3 = math.log(3)
    loss = bradley_terry_loss(
        torch.tensor([1.0, log3, log3]), torch.tensor([1.0, 0.0, 0.0]), torch.ones(3), torch.tensor([0.0, 0.0, log3])
    )
    torch.testing.assert_close(loss, torch.tensor([0.693147, 0.287682, 0.693147]), atol=1e-6, rtol=0)


@given(scores_st, scores_st, targets_st, st.floats(0, 3))
def test_swapping_a_pair_and_its_label_changes_nothing(first: float, second: float, target: float, margin: float):
    a, b = one(first).requires_grad_(), one(second).requires_grad_()
    here = bradley_terry_loss(a, b, one(target), one(margin))
    swapped = bradley_terry_loss(b, a, 1 - one(target), one(margin))
    torch.testing.assert_close(here, swapped, rtol=1e-12, atol=1e-12)
    by_first, by_second = torch.autograd.grad(here.sum(), [a, b])
    torch.testing.assert_close(by_first, -by_second)


@given(scores_st, scores_st)
def test_a_swapped_hard_label_flips_the_sign_of_the_gradient(first: float, second: float):
    a = one(first).requires_grad_()
    (for_first,) = torch.autograd.grad(bradley_terry_loss(a, one(second), one(1), one(0)).sum(), a)
    (for_second,) = torch.autograd.grad(bradley_terry_loss(a, one(second), one(0), one(0)).sum(), a)
    assert for_first.item() <= 0 <= for_second.item()
    assert (for_second - for_first).item() == pytest.approx(1, abs=1e-12)  # sigmoid(x) + sigmoid(-x)


@given(st.floats(0.05, 0.95))
def test_the_best_gap_of_a_soft_label_is_its_log_odds(target: float):
    gap = one(math.log(target / (1 - target))).requires_grad_()
    (gradient,) = torch.autograd.grad(bradley_terry_loss(gap, one(0), one(target), one(0)).sum(), gap)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


@given(st.floats(0, 3))
def test_the_best_gap_of_a_tie_is_zero_whatever_the_margin(margin: float):
    gap = one(0).requires_grad_()
    (gradient,) = torch.autograd.grad(bradley_terry_loss(gap, one(0), one(0.5), one(margin)).sum(), gap)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


def test_extreme_gaps_stay_finite():
    far = torch.tensor([1e4, -1e4]).requires_grad_()
    loss = bradley_terry_loss(far, -far, torch.ones(2), torch.zeros(2))
    assert loss.tolist() == [0, 20_000]
    loss.sum().backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


def test_a_flat_batch_equals_its_pairs_one_by_one():
    scores = torch.randn(6, dtype=torch.float64)
    first, second = torch.tensor([0, 2, 5, 0]), torch.tensor([1, 3, 4, 5])
    target, margin, weight = torch.rand(3, 4, dtype=torch.float64)
    losses = pair_loss(scores, first, second, target, margin, weight)
    for i in range(4):
        expected = plainly(scores[first[i]].item(), scores[second[i]].item(), target[i].item(), margin[i].item())
        assert losses[i].item() == pytest.approx(weight[i].item() * expected, rel=1e-12)


def test_centring_pins_the_sum_of_a_pair():
    # 0.01 * (3 + 1)^2 = 0.16; a pair centred on zero costs nothing.
    penalty = centring_penalty(torch.tensor([3.0, 2.0]), torch.tensor([1.0, -2.0]), eta=0.01)
    torch.testing.assert_close(penalty, torch.tensor([0.16, 0.0]))


@given(scores_st, targets_st)
def test_approval_is_a_pair_against_an_answer_that_scores_zero(score: float, approved: float):
    loss = approval_loss(one(score), one(approved)).item()
    assert loss == pytest.approx(plainly(score, 0, approved, 0), rel=1e-12, abs=1e-12)
