"""One ratio for a whole answer: hand-worked numbers, and the gradient of GSPO."""

import math

import torch
from torch import Tensor

from steersman.maths.policy_loss import clipped_policy_loss, probability_ratio
from steersman.maths.sequence_ratio import log_probs_of_answers, summed_over_answers

LENGTHS = torch.tensor([2, 3])


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


OLD = numbers(-1, -1, -2, -2, -2)
# log-ratios 0.2, -0.4 of one answer and 0.3, 0.3, 0.0 of another
NEW = OLD + numbers(0.2, -0.4, 0.3, 0.3, 0.0)


def test_sums_are_over_each_answer():
    assert summed_over_answers(numbers(1, 2, 3, 4, 5), LENGTHS).tolist() == [3, 12]


def test_golden_ratios():
    # means -0.1 and 0.2; products of the token ratios: exp(-0.2) and exp(0.6)
    mean = probability_ratio(log_probs_of_answers(NEW, OLD, LENGTHS, mean=True), OLD)
    torch.testing.assert_close(mean, numbers(*[math.exp(-0.1)] * 2, *[math.exp(0.2)] * 3))
    product = probability_ratio(log_probs_of_answers(NEW, OLD, LENGTHS, mean=False), OLD)
    torch.testing.assert_close(product, numbers(*[math.exp(-0.2)] * 2, *[math.exp(0.6)] * 3))


def test_the_gradient_is_that_of_the_answers_ratio():
    # GSPO of one answer: -A s with s = exp(mean of log-ratios); d s / d log-prob = s / 2
    given, direct = NEW[:2].clone().requires_grad_(), NEW[:2].clone().requires_grad_()
    log_probs = log_probs_of_answers(given, OLD[:2], LENGTHS[:1], mean=True)
    loss = clipped_policy_loss(log_probs, OLD[:2], numbers(3, 3), clip_low=0.2, clip_high=0.2, dual_clip=None).loss
    loss.mean().backward()
    (-3 * (direct - OLD[:2]).mean().exp()).backward()
    assert given.grad is not None
    assert direct.grad is not None
    torch.testing.assert_close(given.grad, direct.grad)
    torch.testing.assert_close(given.grad, numbers(*[-1.5 * math.exp(-0.1)] * 2))


def test_an_answer_is_clipped_as_a_whole():
    # token ratios exp(0.3), exp(0.3), 1: two would be clipped at 1.2, one not; the mean exp(0.2) = 1.22 clips all three
    log_probs = log_probs_of_answers(NEW[2:].requires_grad_(), OLD[2:], LENGTHS[1:], mean=True)
    loss, _, clipped = clipped_policy_loss(
        log_probs, OLD[2:], numbers(1, 1, 1), clip_low=0.2, clip_high=0.2, dual_clip=None
    )
    torch.testing.assert_close(loss.detach(), numbers(-1.2, -1.2, -1.2))
    assert clipped.all()


def test_no_gradient_reaches_the_old_log_probs():
    now, old = (torch.tensor([-1.0, -2.0], requires_grad=True) for _ in range(2))
    log_probs_of_answers(now, old, torch.tensor([2]), mean=True).sum().backward()
    assert now.grad is not None
    assert old.grad is None
