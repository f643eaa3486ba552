"""GSPO, RLOO with one ratio for an answer, CISPO, the KL in the loss corrected by the ratio, kinds of importance
weights: by hand through an update, and on the enumerable toy."""

import math

import pytest
import torch
from byhand import experience, scored
from optimum import apart
from test_ppo_loop import learn
from test_ppo_update import Given, objective, step
from toy import Problem

from steersman.methods.ppo.advantage import advantage
from steersman.settings.advantage import AdvantageSettings
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.shaping import KlSettings

GSPO = {"ratio": "sequence_mean", "clip": 0.2, "clip_high": 0.2}


def pair() -> list:
    """Log-probs -1.0 and -1.4 now: log-ratios 0.2, -0.4 of one answer; 0.5 of the other, which has one token."""
    return [
        experience(advantages=[1.0, 1.0], returns=[0.0] * 2, values=None, old=[-1.2, -1.0]),
        experience(advantages=[-1.0], returns=[0.0], values=None, old=[-1.5]),
    ]


class NoCritic(Given):
    def policy(self, batch, *, temperature, with_entropy):
        log_probs, entropies, _ = super().policy(batch, temperature=temperature, with_entropy=with_entropy)
        return log_probs, entropies, None


@pytest.mark.parametrize("budget", [1, 10**6])
@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        # GSPO: -exp(-0.1) for the first answer, exp(0.5) for the second: their mean
        ({**GSPO, "mean_over": "answers"}, (-math.exp(-0.1) + math.exp(0.5)) / 2),
        # one ratio for an answer, the product exp(-0.2): two tokens of it and one of exp(0.5), over 8 and 2 answers
        ({"ratio": "sequence", "clip": 0.5, "mean_over": "constant"}, (-2 * math.exp(-0.2) + math.exp(0.5)) / 8 / 2),
        # CISPO: -(exp(0.2) * -1.0) - (exp(-0.4) * -1.4) + 1.4 * -1.0, over three tokens; exp(0.5) is held at 1.4
        (
            {"policy_loss": "cispo", "clip_high": 0.4},
            (math.exp(0.2) * 1.0 + math.exp(-0.4) * 1.4 - 1.4 * 1.0) / 3,
        ),
    ],
)
def test_the_loss_of_an_update_by_hand(settings, policy, budget):
    report = step(NoCritic([-1.0, -1.4], [0.0] * 2), pair(), objective(**settings), budget=budget)
    assert report.terms["policy"] == pytest.approx(policy, abs=1e-6)


def test_the_kl_in_the_loss_corrected_by_the_ratio():
    # k3 = exp(-0.5) - 0.5 = 0.10653 as the policy says -0.5 and the reference -1; times new / old = exp(0.5)
    kl = KlSettings(loss_coefficient=0.4, loss_estimator="k3", loss_correction="ratio")
    one = experience(advantages=[0.0], returns=[0.0], values=None, old=[-1.0])
    report = step(NoCritic([-0.5], [0.0]), [one], objective(kl))
    assert report.terms["KL in loss"] == pytest.approx(math.exp(0.5) * (math.exp(-0.5) - 0.5), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        # ratios exp(0.5), exp(2), exp(-0.5): their product is exp(2)
        ({}, [math.exp(0.5), 2.0, math.exp(-0.5)]),
        ({"importance": "token_mask"}, [math.exp(0.5), 0.0, math.exp(-0.5)]),
        ({"importance": "sequence_truncate", "importance_cap": 3.0}, [3.0] * 3),
        ({"importance": "sequence_mask", "importance_cap": 8.0}, [math.exp(2)] * 3),
        ({"importance": "sequence_mask"}, [0.0] * 3),
    ],
)
def test_the_kinds_of_importance_weights(settings, weights):
    one = scored(kl=[0.0] * 3, values=None, score=1.0, old=[-1.0] * 3, engine=[-1.5, -3.0, -0.5])
    plain = AdvantageSettings(estimator="reinforce++", whiten=False)
    found = advantage([one], plain, kl_coefficient=0.0, importance=UpdateSettings(**settings))
    assert found[0].importance.tolist() == pytest.approx(weights, rel=1e-5)


LEARNERS = {
    "gspo": ({"estimator": "grpo"}, {**GSPO, "mean_over": "answers"}),
    "rloo, one ratio": ({"estimator": "rloo"}, {"ratio": "sequence"}),
    "cispo": ({"estimator": "rloo"}, {"policy_loss": "cispo"}),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learns(name):
    estimator, update = LEARNERS[name]
    problem = Problem(4, 3, 0)
    rows, actors, _, _ = learn(
        problem,
        iterations=40,
        batch=4,
        beta=1.0,
        critic=False,
        advantage=estimator,
        update={"epochs": 2, "minibatches": 1, **update},
        prompts_per_iteration=32,
        samples_per_prompt=4,
    )
    share, _ = problem.judge(problem.sequence_log_probs(actors.logits.detach()), 1.0)
    assert share > 0.85 * problem.optimum(1.0)[0]
    assert rows[0]["ratio from 1, first minibatch"] < 1e-6


@pytest.mark.soak
@pytest.mark.parametrize(
    ("estimator", "update"),
    [
        ("grpo", {**GSPO, "mean_over": "answers"}),
        ("rloo", {"ratio": "sequence"}),
        ("rloo", {"policy_loss": "cispo"}),
    ],
)
def test_each_reaches_the_optimum(estimator, update):
    share, kl, best_kl = apart(
        "without critic",
        estimator=estimator,
        beta=1.0,
        number=0,
        seed=0,
        iterations=150,
        answers=4,
        kl={"loss_coefficient": 0.0, "coefficient": 1.0},
        update=update,
    )
    print(f"\n{estimator} {update}: J/J* {share:.4f}, KL {kl:.3f} of {best_kl:.3f}")
    assert share >= 0.93
    assert kl == pytest.approx(best_kl, rel=0.1)


@pytest.mark.slow
def test_with_the_corrected_kl_in_the_loss_an_answer_of_one_token_reaches_the_optimum():
    # with more tokens neither does: a token's term in the loss does not see the KL of the tokens that follow
    problem = Problem(6, 1, 0)

    def share(**kl) -> float:
        _, actors, _, _ = learn(
            problem,
            iterations=40,
            rate=0.1,
            beta=0.0,
            critic=False,
            advantage={"estimator": "rloo"},
            kl={"loss_coefficient": 1.0, "loss_estimator": "k3", **kl},
            update={"epochs": 4, "minibatches": 1},
            samples_per_prompt=128,
        )
        return problem.judge(problem.sequence_log_probs(actors.logits.detach()), 1.0)[0] / problem.optimum(1.0)[0]

    plain, corrected = share(), share(loss_correction="ratio")
    print(f"\nJ/J* of k3 in the loss {plain:.4f}, corrected by the ratio {corrected:.4f}")
    assert plain < 0.95 < 0.99 < corrected


def test_the_gradient_of_corrected_k3_is_that_of_the_states_kl():
    # over all tokens of one state, weighted by the old policy, the sum is exact
    logits = torch.tensor([0.3, -1.0, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([1.0, 0.0, -0.5, 0.1], dtype=torch.float64).log_softmax(-1)
    log_probs = logits.log_softmax(-1)
    (exact,) = torch.autograd.grad((log_probs.exp() * (log_probs - reference)).sum(), logits, retain_graph=True)
    old, gap = log_probs.detach(), reference - log_probs
    k3 = torch.expm1(gap) - gap
    (corrected,) = torch.autograd.grad((old.exp() * (log_probs - old).exp() * k3).sum(), logits, retain_graph=True)
    (plain,) = torch.autograd.grad((old.exp() * k3).sum(), logits)
    torch.testing.assert_close(corrected, exact)
    assert float((plain - exact).abs().max()) > 0.05
