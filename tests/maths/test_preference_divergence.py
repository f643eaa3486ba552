"""The implicit rewards of f-DPO: numbers worked by hand, limits, and the derivative of each divergence."""

import math

import pytest
import torch

from steersman.maths.preference_divergence import alpha_reward, jensen_shannon_reward


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand():
    # u = 4: forward KL 1 - 1/4; alpha 0.5 (1 - 1/2) / 0.5 = 1; Jensen-Shannon log(4/5), without the constant log 2
    log_ratio = f64(math.log(4))
    assert alpha_reward(log_ratio, alpha=1.0).item() == pytest.approx(0.75)
    assert alpha_reward(log_ratio, alpha=0.5).item() == pytest.approx(1.0)
    assert jensen_shannon_reward(log_ratio).item() == pytest.approx(math.log(0.8))


def test_a_small_alpha_is_the_reverse_kl():
    log_ratio = f64(-3, 0, 2)
    torch.testing.assert_close(alpha_reward(log_ratio, alpha=1e-6), log_ratio, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("f", "reward"),
    [
        # alpha-divergence with alpha 0.5; forward KL -log u; Jensen-Shannon u log u - (1 + u) log((1 + u) / 2)
        (lambda u: (u**0.5 - 0.5 * u - 0.5) / (0.5 * -0.5), lambda x: alpha_reward(x, alpha=0.5)),
        (lambda u: -torch.log(u), lambda x: alpha_reward(x, alpha=1.0)),
        (lambda u: u * torch.log(u) - (1 + u) * torch.log((1 + u) / 2), jensen_shannon_reward),
    ],
)
def test_each_is_the_derivative_of_its_f_up_to_a_constant(f, reward):
    u = f64(0.1, 0.7, 1.0, 3.0).requires_grad_()
    (slope,) = torch.autograd.grad(f(u).sum(), u)
    difference = reward(u.detach().log()) - slope
    assert float((difference - difference[0]).abs().max()) < 1e-9


def test_an_answer_that_the_policy_no_longer_gives_has_a_finite_reward():
    far = f64(-1000).requires_grad_()
    found = alpha_reward(far, alpha=1.0)
    assert math.isfinite(found.item())


def test_an_answer_less_likely_than_e_to_the_minus_20_is_no_worse():
    far = f64(-19, -20, -25).requires_grad_()
    found = alpha_reward(far, alpha=1.0)
    # 1 - e^19, 1 - e^20, and no further
    assert found.tolist() == pytest.approx([1 - math.exp(19), 1 - math.exp(20), 1 - math.exp(20)], rel=1e-12)
    found.sum().backward()
    assert far.grad is not None
    assert (far.grad[0].item(), far.grad[2].item()) == (pytest.approx(math.exp(19)), 0.0)
