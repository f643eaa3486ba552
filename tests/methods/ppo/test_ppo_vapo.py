"""VAPO's parts: lambda by an answer's length, and the likelihood loss on right answers."""

from dataclasses import replace

import pytest
from byhand import experience, scored
from test_ppo_advantage import stage
from test_ppo_loop import FEW, learn
from test_ppo_policy_losses import NoCritic
from test_ppo_update import learner_of, objective, step
from toy import Problem

from steersman.methods.ppo.records import Experience
from steersman.methods.ppo.update import update
from steersman.settings.advantage import AdvantageSettings


def test_lambda_of_the_policy_follows_the_length_and_the_critics_target_does_not():
    # Two tokens, values 1 and 2, score 5: TD errors 2 - 1 = 1 and 5 - 2 = 3. alpha 1: lambda 1 - 1/2, so advantages
    # 1 + 0.5 * 3 and 3. The critic's targets at lambda 1 are 5 and 5. One token: lambda 0, TD error 5 - 1.
    samples = [scored(kl=[0.0] * 2, values=[1.0, 2.0], score=5.0), scored(kl=[0.0], values=[1.0], score=5.0)]
    found = stage(samples, AdvantageSettings(whiten=False, gae_lambda=1.0, length_adaptive=1.0))
    assert found[0].advantages.tolist() == [2.5, 3.0]
    assert found[1].advantages.tolist() == [4.0]
    assert [one.returns.tolist() for one in found] == [[5.0, 5.0], [5.0]]


def test_the_critic_keeps_a_lambda_of_its_own_beside_that_of_the_length():
    # Values 1 and 2, score 5, TD errors 1 and 3; the policy's lambda is 1/2 whatever the other two are. The critic's
    # targets: at lambda 0 the next value and the reward, 2 and 5; at 0.5: 1 + 1 + 0.5 * 3 and 5.
    sample = scored(kl=[0.0] * 2, values=[1.0, 2.0], score=5.0)
    for critic_lambda, gae_lambda, returns in ((0.0, 1.0, [2.0, 5.0]), (0.5, 1.0, [3.5, 5.0]), (None, 0.0, [2.0, 5.0])):
        own = {"critic_lambda": critic_lambda, "gae_lambda": gae_lambda}
        found = stage([sample], AdvantageSettings(whiten=False, length_adaptive=1.0, **own))[0]
        assert found.advantages.tolist() == [2.5, 3.0]
        assert found.returns.tolist() == returns


@pytest.mark.parametrize("budget", [1, 10**6])
def test_right_answers_are_learned_by_likelihood(budget):
    # answers of 2, 1 and 1 tokens with scores 1, 0 and 1: log-probs now -1 and -3 of the first, -1 of each other
    def answer(tokens: int, score: float) -> Experience:
        zeros = [0.0] * tokens
        one = experience(advantages=zeros, returns=zeros, values=None, old=[-1.0, -3.0][:tokens])
        return replace(one, scored=replace(one.scored, raw_score=score))

    units = [answer(2, 1.0), answer(1, 0.0), answer(1, 1.0)]
    aim = objective(positive_coefficient=0.1, positive_above=0.5)
    report = step(NoCritic([-1.0, -3.0], [0.0] * 2), units, aim, budget=budget)
    assert report.terms["positive"] == pytest.approx((1 + 3 + 1) / 3)
    assert report.loss == pytest.approx(0.1 * 5 / 3)
    none = [replace(one, scored=replace(one.scored, raw_score=0.5)) for one in units]
    assert "positive" not in step(NoCritic([-1.0, -3.0], [0.0] * 2), none, aim, budget=budget).terms


@pytest.mark.slow
def test_vapo_learns():
    problem = Problem(4, 3, 0)
    rows, actors, _, _ = learn(
        problem,
        iterations=40,
        batch=128,
        beta=1.0,
        advantage={"gae_lambda": 1.0, "length_adaptive": 1.0},
        update={**FEW, "positive_coefficient": 0.02, "positive_above": 1.0},
    )
    share, _ = problem.judge(problem.sequence_log_probs(actors.logits.detach()), 1.0)
    assert share > 0.85 * problem.optimum(1.0)[0]
    assert all(row["positive"] > 0 for row in rows)


def test_a_minibatch_without_a_right_answer_is_no_part_of_the_mean_likelihood():
    zeros = experience(advantages=[0.0], returns=[0.0], values=None, old=[-1.0])
    units = [replace(zeros, scored=replace(zeros.scored, raw_score=raw)) for raw in (1.0, 0.0)]
    aim = objective(positive_coefficient=0.1, epochs=1, minibatches=2)
    stats = update(learner_of(NoCritic([-1.0], [0.0])), units, aim, seed=0, iteration=0, pretraining=None)
    assert stats.steps == 2
    assert stats.terms["positive"] == pytest.approx(1.0)
