"""KL estimators against the exact KL, the exact forms against each other, and the controllers."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steersman.maths import kl


def two_policies(seed: int = 0, shape: tuple[int, ...] = (3,), vocab: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*shape, vocab, generator=generator, dtype=torch.float64),
        torch.randn(*shape, vocab, generator=generator, dtype=torch.float64),
    )


def test_golden_estimators():
    # log-ratio log(0.5 / 0.25) = log 2 = 0.693147: k1 0.693147, k2 0.240227, k3 = 1/2 - 1 + log 2 = 0.193147
    policy, reference = torch.tensor([0.5], dtype=torch.float64).log(), torch.tensor([0.25], dtype=torch.float64).log()
    assert kl.k1(policy, reference).item() == pytest.approx(0.693147, abs=1e-6)
    assert kl.k2(policy, reference).item() == pytest.approx(0.240227, abs=1e-6)
    assert kl.k3(policy, reference).item() == pytest.approx(0.193147, abs=1e-6)


def test_golden_full_kl():
    # KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 log 3/2 + 1/4 log 1/2 = 0.304099 - 0.173287 = 0.130812
    policy, reference = torch.tensor([0.75, 0.25]).log(), torch.tensor([0.5, 0.5]).log()
    assert kl.full_kl(policy, reference).item() == pytest.approx(0.130812, abs=1e-6)


@pytest.mark.parametrize("estimator", [kl.k1, kl.k3])
def test_k1_and_k3_have_the_exact_kl_as_their_mean(estimator: Callable[[Tensor, Tensor], Tensor]):
    policy, reference = (torch.log_softmax(x, -1) for x in two_policies())
    expected = (policy.exp() * estimator(policy, reference)).sum(-1)
    torch.testing.assert_close(expected, kl.full_kl(policy, reference))


@given(st.integers(0, 1000))
def test_k2_and_k3_are_never_negative(seed: int):
    policy, reference = two_policies(seed)
    assert (kl.k2(policy, reference) >= 0).all()
    assert (kl.k3(policy, reference) >= 0).all()


def test_the_same_policy_has_no_kl():
    policy, _ = two_policies()
    for measure in (kl.k1, kl.k2, kl.k3, kl.full_kl):
        assert not measure(policy, policy).any()
    assert not kl.top_k_kl(policy, policy, 3).any()


def test_the_mean_gradient_of_k2_is_that_of_the_exact_kl():
    logits, reference = two_policies(shape=())
    logits.requires_grad_()
    log_probs, reference = torch.log_softmax(logits, -1), torch.log_softmax(reference, -1)
    drawn = (log_probs.detach().exp() * kl.k2(log_probs, reference)).sum()
    torch.testing.assert_close(
        torch.autograd.grad(drawn, logits, retain_graph=True),
        torch.autograd.grad(kl.full_kl(logits, reference), logits),
    )


@given(st.integers(0, 1000), st.integers(1, 6))
def test_merging_tokens_never_adds_kl_and_keeping_more_never_takes_any(seed: int, k: int):
    policy, reference = two_policies(seed)
    coarse, fine = kl.top_k_kl(policy, reference, k), kl.top_k_kl(policy, reference, k + 1)
    assert (coarse >= -1e-12).all()
    assert (coarse <= fine + 1e-12).all()
    assert (fine <= kl.full_kl(policy, reference) + 1e-12).all()


def test_top_k_with_the_whole_vocabulary_is_exact():
    policy, reference = two_policies(shape=(2, 3))
    for k in (7, 100):
        torch.testing.assert_close(kl.top_k_kl(policy, reference, k), kl.full_kl(policy, reference))
    torch.testing.assert_close(kl.top_k_kl(policy, reference, 6), kl.full_kl(policy, reference))


def test_golden_top_k():
    # Reference (.5, .3, .2), policy (.2, .3, .5); k = 1 keeps the first: bins .2/.8 against .5/.5.
    # .2 log(.2/.5) + .8 log(.8/.5) = -0.183258 + 0.376003 = 0.192745
    policy, reference = torch.tensor([0.2, 0.3, 0.5]).log(), torch.tensor([0.5, 0.3, 0.2]).log()
    assert kl.top_k_kl(policy, reference, 1).item() == pytest.approx(0.192745, abs=1e-6)


def test_k_is_compared_with_the_vocabulary_and_not_with_the_rows():
    # two rows of three tokens, k = 2: the last two of (.2, .3, .5) and of (.5, .3, .2) are the first row's bins
    policy = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]).log()
    reference = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]]).log()
    kept = torch.stack([kl.top_k_kl(one, other, 2) for one, other in zip(policy, reference, strict=True)])
    torch.testing.assert_close(kl.top_k_kl(policy[:1], reference[:1], 2), kept[:1])
    torch.testing.assert_close(kl.top_k_kl(policy, reference, 2), kept)
    four = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    merged = kl.top_k_kl(four.expand(2, 4), four.flip(0).expand(2, 4), 2)
    # bins (.1, .2, .7) against (.4, .3, .3)
    expected = 0.1 * math.log(0.1 / 0.4) + 0.2 * math.log(0.2 / 0.3) + 0.7 * math.log(0.7 / 0.3)
    torch.testing.assert_close(merged, torch.full((2,), expected))


def test_a_token_the_policy_never_says_adds_nothing():
    policy = torch.tensor([0.0, -math.inf])
    assert kl.full_kl(policy, torch.tensor([0.5, 0.5]).log()).item() == pytest.approx(math.log(2))


def test_exact_kl_is_differentiable():
    policy, reference = two_policies()
    policy.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kl.full_kl(x, reference), policy)
    assert torch.autograd.gradcheck(lambda x: kl.top_k_kl(x, reference, 2), policy)


def test_k_must_keep_something():
    with pytest.raises(ValueError, match="k is 0"):
        kl.top_k_kl(*two_policies(), 0)


def test_golden_adaptive_coefficient():
    # measured 6.6, target 6: error 0.1; 0.2 * (1 + 0.1 * 512 / 10000) = 0.201024. Far off, the error is cut at 0.2.
    control = {"target": 6.0, "horizon": 10_000.0, "episodes": 512}
    assert kl.adaptive_coefficient(0.2, 6.6, **control) == pytest.approx(0.201024)
    assert kl.adaptive_coefficient(0.2, 600.0, **control) == pytest.approx(0.2 * (1 + 0.2 * 0.0512))
    assert kl.adaptive_coefficient(0.2, -3.0, **control) == pytest.approx(0.2 * (1 - 0.2 * 0.0512))


def test_golden_target_seeking_coefficient():
    control = {"target": 4.0, "rate": 0.5, "limit": 4.0}
    assert kl.target_seeking_coefficient(0.1, 9.0, **control) == pytest.approx(0.15)  # 0.1 * sqrt(9 / 4)
    assert kl.target_seeking_coefficient(0.1, 400.0, **control) == pytest.approx(0.2)  # held at 4, whose root is 2
    assert kl.target_seeking_coefficient(0.1, -1.0, **control) == pytest.approx(0.05)


@pytest.mark.parametrize("adaptive", [True, False])
def test_controllers_settle_on_the_target(adaptive: bool):
    # A plant whose KL is 1 / coefficient: the target 5 is met at 0.2.
    coefficient = 0.02
    for _ in range(2000):
        if adaptive:
            coefficient = kl.adaptive_coefficient(
                coefficient, 1 / coefficient, target=5.0, horizon=10_000.0, episodes=256
            )
        else:
            coefficient = kl.target_seeking_coefficient(coefficient, 1 / coefficient, target=5.0, rate=0.1, limit=2.0)
    assert coefficient == pytest.approx(0.2, rel=1e-3)


def test_a_controller_cannot_start_from_zero():
    with pytest.raises(ValueError, match="both must be above 0"):
        kl.adaptive_coefficient(0.0, 1.0, target=6.0, horizon=10_000.0, episodes=1)
    with pytest.raises(ValueError, match="both must be above 0"):
        kl.target_seeking_coefficient(0.1, 1.0, target=0.0, rate=0.1, limit=2.0)
    with pytest.raises(ValueError, match="limit is 1"):
        kl.target_seeking_coefficient(0.1, 1.0, target=6.0, rate=0.1, limit=1.0)
