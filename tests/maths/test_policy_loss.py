"""PPO losses: hand-worked numbers, where the gradient stops, and what it is at ratio 1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steersman.maths.policy_loss import (
    clipped_policy_loss,
    clipped_value_loss,
    clipped_weight_loss,
    entropy_loss,
    probability_ratio,
    truncated_importance_weight,
)

PLAIN = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": None}


def logs(*ratios: float) -> Tensor:
    return torch.tensor(ratios, dtype=torch.float64).log()


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_golden_clipping():
    # ratio 1.5, A 2: min(3, 2.4) -> -2.4, clipped.   ratio 0.5, A 2: min(1, 1.6) -> -1, free.
    # ratio 1.5, A -2: min(-3, -2.4) -> 3, free.      ratio 0.5, A -2: min(-1, -1.6) -> 1.6, clipped.   1.1, A 2: -2.2.
    log_probs, old = logs(1.5, 0.5, 1.5, 0.5, 1.1), torch.zeros(5, dtype=torch.float64)
    loss, ratio, clipped = clipped_policy_loss(log_probs, old, numbers(2, 2, -2, -2, 2), **PLAIN)
    torch.testing.assert_close(loss, numbers(-2.4, -1, 3, 1.6, -2.2))
    torch.testing.assert_close(ratio, numbers(1.5, 0.5, 1.5, 0.5, 1.1))
    assert clipped.tolist() == [True, False, False, True, False]


def test_a_higher_upper_clip_lets_unlikely_tokens_rise():
    loss, _, clipped = clipped_policy_loss(
        logs(1.25, 1.5), logs(1, 1), numbers(1, 1), clip_low=0.2, clip_high=0.28, dual_clip=None
    )
    torch.testing.assert_close(loss, numbers(-1.25, -1.28))
    assert clipped.tolist() == [False, True]


def test_golden_dual_clip():
    # ratio 10, A -2: the free loss 20 is cut at 3 * 2 = 6. ratio 2.5, A -2: 5 stays. ratio 10, A 2: clipped at -2.4.
    loss, _, clipped = clipped_policy_loss(
        logs(10, 2.5, 10), logs(1, 1, 1), numbers(-2, -2, 2), clip_low=0.2, clip_high=0.2, dual_clip=3.0
    )
    torch.testing.assert_close(loss, numbers(6, 5, -2.4))
    assert clipped.tolist() == [True, False, True]


def test_golden_cispo():
    # ratios 8, 2 and 0.5 with bounds 0 and 5: weights 5, 2, 0.5; loss -w A log p, whose gradient is -w A
    log_probs = logs(0.8, 0.4, 0.1).requires_grad_()
    loss, ratio, clipped = clipped_weight_loss(
        log_probs, logs(0.1, 0.2, 0.2), numbers(1, -2, 3), clip_low=1.0, clip_high=4.0
    )
    expected = numbers(-5 * math.log(0.8), 2 * 2 * math.log(0.4), -0.5 * 3 * math.log(0.1))
    torch.testing.assert_close(loss.detach(), expected)
    torch.testing.assert_close(ratio, numbers(8, 2, 0.5))
    assert clipped.tolist() == [True, False, False]
    loss.sum().backward()
    torch.testing.assert_close(log_probs.grad, numbers(-5, 4, -1.5))


def test_a_token_beyond_ppos_clip_has_no_gradient_and_keeps_cispos():
    for loss_of, options, gradient in (
        (clipped_policy_loss, {"dual_clip": None}, 0.0),
        (clipped_weight_loss, {}, -1.2),
    ):
        log_probs = logs(0.6).requires_grad_()
        loss_of(log_probs, logs(0.2), numbers(1), clip_low=0.2, clip_high=0.2, **options).loss.sum().backward()
        torch.testing.assert_close(log_probs.grad, numbers(gradient))


@given(st.integers(0, 1000))
def test_at_ratio_one_the_gradient_is_the_policy_gradient(seed: int):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(6, dtype=torch.float64, generator=generator).requires_grad_()
    advantages = torch.randn(6, dtype=torch.float64, generator=generator)
    loss, ratio, clipped = clipped_policy_loss(log_probs, log_probs.detach(), advantages, **PLAIN)
    (gradient,) = torch.autograd.grad(loss.sum(), log_probs)
    torch.testing.assert_close(gradient, -advantages)
    assert (ratio == 1).all()
    assert not clipped.any()


@given(st.integers(0, 1000), st.sampled_from([None, 2.0]))
def test_no_gradient_flows_exactly_where_clipping_decided(seed: int, dual_clip: float | None):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(20, dtype=torch.float64, generator=generator).requires_grad_()
    advantages = torch.randn(20, dtype=torch.float64, generator=generator)
    loss, _, clipped = clipped_policy_loss(
        log_probs, torch.zeros_like(log_probs), advantages, clip_low=0.2, clip_high=0.2, dual_clip=dual_clip
    )
    (gradient,) = torch.autograd.grad(loss.sum(), log_probs)
    assert torch.equal(gradient == 0, clipped)


def test_old_log_probs_and_advantages_get_no_gradient():
    given_tensors = [torch.randn(3, requires_grad=True) for _ in range(2)]
    log_probs = torch.randn(3, requires_grad=True)
    clipped_policy_loss(log_probs, *given_tensors, **PLAIN).loss.sum().backward()
    clipped_value_loss(log_probs, *given_tensors, clip=0.2).loss.sum().backward()
    assert log_probs.grad is not None
    assert all(tensor.grad is None for tensor in given_tensors)


def test_a_ratio_out_of_all_bounds_stays_finite():
    ratio = probability_ratio(torch.tensor([500.0, -500.0]), torch.zeros(2))
    torch.testing.assert_close(ratio, torch.tensor([math.exp(20), math.exp(-20)]))


def test_a_dual_clip_of_one_is_refused():
    with pytest.raises(ValueError, match="dual_clip is 1"):
        clipped_policy_loss(logs(1), logs(1), numbers(1), clip_low=0.2, clip_high=0.2, dual_clip=1.0)


def test_golden_value_loss():
    # 0.5 * (1.23 - 1.87)^2 = 0.5 * 0.4096 = 0.2048
    loss, clipped = clipped_value_loss(numbers(1.23), numbers(1.23), numbers(1.87), clip=0.2)
    assert loss.item() == pytest.approx(0.2048)
    assert not clipped.any()
    assert clipped_value_loss(numbers(1.23), numbers(0), numbers(1.87), clip=None).loss.item() == pytest.approx(0.2048)


def test_golden_clipped_value_loss():
    # old 1, clip 0.2. V 1.5, R 2: held at 1.2, (1.2 - 2)^2 = 0.64 > 0.25, so 0.32 and clipped.
    # V 1.5, R 0: (1.5)^2 = 2.25 > 1.44, so 1.125 and free. V 1.1, R 2: inside, 0.5 * 0.81 = 0.405.
    loss, clipped = clipped_value_loss(numbers(1.5, 1.5, 1.1), numbers(1, 1, 1), numbers(2, 0, 2), clip=0.2)
    torch.testing.assert_close(loss, numbers(0.32, 1.125, 0.405))
    assert clipped.tolist() == [True, False, False]


def test_clipping_never_lowers_a_loss():
    values, old, returns = torch.randn(3, 100)
    clipped = clipped_value_loss(values, old, returns, clip=0.2).loss
    assert (clipped >= clipped_value_loss(values, old, returns, clip=None).loss).all()


def test_the_entropy_loss_falls_as_entropy_rises():
    assert entropy_loss(numbers(0.5, 2)).tolist() == [-0.5, -2]


def test_golden_truncated_importance_weight():
    trainer = logs(0.5, 0.4, 0.1).requires_grad_()
    weight = truncated_importance_weight(trainer, logs(0.5, 0.1, 0.2), cap=2.0)
    torch.testing.assert_close(weight, numbers(1, 2, 0.5))
    assert not weight.requires_grad


def test_a_cap_below_one_is_refused():
    with pytest.raises(ValueError, match=r"cap is 0\.5"):
        truncated_importance_weight(logs(1), logs(1), cap=0.5)


def test_rounding_within_the_clip_is_not_taken_for_clipping():
    # old + (new - old) is not always new in float32, and its loss then differs in the last bit
    generator = torch.Generator().manual_seed(0)
    old, values = (0.03 * torch.randn(2, 1000, generator=generator)).clamp(-0.09, 0.09)
    returns = torch.randn(1000, generator=generator)
    again = old + (values - old)
    assert ((again - returns).square() > (values - returns).square()).any(), "rounding is seen at all"
    assert not clipped_value_loss(values, old, returns, clip=0.2).clipped.any()


def test_a_value_at_the_edge_of_the_clip_is_not_clipped():
    # 1.25 is 1 + 0.25 exactly, so that held and free are one number
    loss, clipped = clipped_value_loss(numbers(1.25, 1.3125), numbers(1, 1), numbers(2, 2), clip=0.25)
    # 0.5 * 0.75^2 for both: the second, just beyond, is held at 1.25
    torch.testing.assert_close(loss, numbers(0.28125, 0.28125))
    assert clipped.tolist() == [False, True]


def test_a_ratio_at_the_edge_of_the_clip_counts_in_full():
    clip = {"clip_low": 0.5, "clip_high": 0.5, "dual_clip": None}
    loss, ratio, _ = clipped_policy_loss(logs(1.5, 0.5), logs(1, 1), numbers(1, -1), **clip)
    torch.testing.assert_close(ratio, numbers(1.5, 0.5))
    torch.testing.assert_close(loss, numbers(-1.5, 0.5))


def test_the_dual_clip_holds_from_just_above_one_and_a_cap_from_one():
    clipped_policy_loss(logs(1), logs(1), numbers(1), clip_low=0.2, clip_high=0.2, dual_clip=1.01)
    assert truncated_importance_weight(logs(0.5), logs(0.1), cap=1.0).tolist() == [1.0]


def test_the_ratio_and_the_weight_carry_no_gradient_and_the_plain_value_loss_never_says_clipped():
    log_probs = logs(1.1).requires_grad_()
    assert not clipped_policy_loss(log_probs, logs(1), numbers(1), **PLAIN).ratio.requires_grad
    old = logs(1.0).requires_grad_()
    assert not probability_ratio(logs(1.1), old).requires_grad
    assert clipped_value_loss(numbers(9.0), numbers(0.0), numbers(0.0), clip=None).clipped.tolist() == [False]
