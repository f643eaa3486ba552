"""PPO reaches the exact optimum of a task that can be enumerated, through the product's own loop.

J* = beta log E_ref[exp(r / beta)] is known, so J / J* says how much of what can be had was had. A wrong sign, an
off-by-one, a mean over the wrong tokens or a KL in the wrong place all show here: the last test puts the KL into the
loss as k3, and falls short."""

import pytest
import torch
from optimum import apart
from toy import Problem

SMALL = (5, 4)
"""A problem with 625 answers, solved in 75 iterations; that of the soak has 7,776 and takes 600."""


def test_the_task_knows_its_optimum():
    # J* - J(pi) = beta KL(pi || pi*), for any policy: here the reference and another one
    problem = Problem(4, 3, 0)
    for beta in (0.2, 1.0):
        best, best_kl, log_star = problem.optimum(beta)
        at_best, kl = problem.judge(log_star, beta)
        assert at_best == pytest.approx(best, abs=1e-9)
        assert kl == pytest.approx(best_kl, abs=1e-9)
        assert problem.judge(problem.sequence_log_probs(problem.reference_logits), beta)[0] == pytest.approx(
            0, abs=1e-9
        )
        other = problem.sequence_log_probs(torch.randn(problem.prefixes, 4))
        gap = float((other.exp() * (other - log_star)).sum())
        assert best - problem.judge(other, beta)[0] == pytest.approx(beta * gap, abs=1e-9)


@pytest.mark.slow
def test_ppo_reaches_the_optimum_of_an_enumerable_task():
    share, kl, best_kl = apart("table", beta=1.0, number=0, seed=0, iterations=75, size=SMALL)
    # 0.994 was seen; with the KL in the loss (below) it is 0.78
    assert share >= 0.97
    assert kl == pytest.approx(best_kl, rel=0.05)


@pytest.mark.slow
def test_the_transformer_reaches_the_optimum_too():
    share, kl, best_kl = apart("model", beta=1.0, number=0, seed=0, iterations=100)
    # 0.985 after the soak's 200 iterations
    assert share >= 0.97
    assert kl == pytest.approx(best_kl, rel=0.05)


@pytest.mark.slow
def test_with_the_kl_in_the_loss_as_k3_the_optimum_is_missed():
    share, _, _ = apart(
        "table",
        beta=1.0,
        number=0,
        seed=0,
        iterations=75,
        size=SMALL,
        kl={"coefficient": 0.0, "loss_coefficient": 1.0, "loss_estimator": "k3"},
    )
    assert 0.5 < share <= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_adaptive_controller_reaches_its_target_from_a_beta_ten_times_too_low_or_too_high(factor):
    kl, beta, right = apart("steered", factor=factor, target=2.0)
    print(f"\nbeta {factor} x {right:.3f}: KL {kl:.3f}, beta {beta:.3f}")
    assert kl == pytest.approx(2.0, rel=0.1)
    assert beta == pytest.approx(right, rel=0.25)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", range(3))
# Where the KL is cheap, few answers an iteration settle on the first good sequence that they meet: 512 came to 0.86 on
# problem 2.
@pytest.mark.parametrize(
    ("beta", "least", "iterations", "answers"), [(1.0, 0.97, 600, 512), (0.5, 0.97, 600, 512), (0.2, 0.92, 150, 2048)]
)
def test_every_problem_and_seed_reaches_the_optimum(beta, least, iterations, answers, number, seed):
    share, kl, best_kl = apart("table", beta=beta, number=number, seed=seed, iterations=iterations, answers=answers)
    print(f"\ntable: beta {beta}, problem {number}, seed {seed}: J/J* {share:.4f}, KL {kl:.3f} of {best_kl:.3f}")
    assert share >= least
    assert beta == 0.2 or kl == pytest.approx(best_kl, rel=0.05)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(("beta", "least"), [(1.0, 0.985), (0.5, 0.95)])
def test_every_transformer_and_seed_reaches_the_optimum(beta, least, number, seed):
    share, kl, best_kl = apart("model", beta=beta, number=number, seed=seed)
    print(f"\nmodel: beta {beta}, problem {number}, seed {seed}: J/J* {share:.4f}, KL {kl:.3f} of {best_kl:.3f}")
    assert share >= least


@pytest.mark.soak
@pytest.mark.parametrize("number", range(3))
def test_k3_in_the_loss_misses_it_for_every_problem(number):
    kl = {"coefficient": 0.0, "loss_coefficient": 1.0, "loss_estimator": "k3"}
    share, _, _ = apart("table", beta=1.0, number=number, seed=0, iterations=400, kl=kl)
    print(f"\nk3 in the loss: problem {number}: J/J* {share:.4f}")
    assert share <= 0.90


@pytest.mark.soak
@pytest.mark.parametrize("estimator", ["k2", "k3", "full", "top_k"])
def test_every_estimator_reaches_the_optimum(estimator):
    kl = {"estimator": estimator, "top_k": 3}
    share, found, best = apart("table", beta=1.0, number=0, seed=0, iterations=400, kl=kl)
    print(f"\n{estimator} in the reward: J/J* {share:.4f}, KL {found:.3f} of {best:.3f}")
    assert share >= 0.95
