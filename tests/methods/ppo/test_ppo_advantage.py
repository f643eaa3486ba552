"""Stage 3 by hand: rewards, GAE, whitening, importance weights."""

import pytest
import torch
from byhand import scored
from hypothesis import given
from hypothesis import strategies as st

from steersman.methods.ppo.advantage import advantage, alike, engine_mismatch, explained_variance
from steersman.settings.advantage import AdvantageSettings
from steersman.settings.policy_update import UpdateSettings

PLAIN = AdvantageSettings(whiten=False)


def stage(samples, settings=PLAIN, *, beta=0.0, cap=None):
    weights = None if cap is None else UpdateSettings(importance_cap=cap)
    return advantage(samples, settings, kl_coefficient=beta, importance=weights)


def test_kl_is_paid_token_by_token_and_the_score_on_the_last():
    # beta 0.5: -0.5 * (0.2, -0.4, 0.6) = (-0.1, 0.2, -0.3); the score 2 joins the last: 1.7
    found = stage([scored(kl=[0.2, -0.4, 0.6], values=[0.0] * 3, score=2.0)], beta=0.5)
    assert found[0].rewards.tolist() == pytest.approx([-0.1, 0.2, 1.7])


def test_rewards_within_the_answer_are_added_where_they_fall():
    found = stage([scored(kl=[0.2, 0.0, 0.0], values=[0.0] * 3, score=1.0, spans=[0.0, 0.5, 0.25])], beta=1.0)
    assert found[0].rewards.tolist() == pytest.approx([-0.2, 0.5, 1.25])


def test_with_gamma_and_lambda_one_the_advantage_is_return_less_value():
    # rewards (-0.1, 0.2, 1.7): returns to the end (1.8, 1.9, 1.7)
    settings = AdvantageSettings(whiten=False, gamma=1.0, gae_lambda=1.0)
    found = stage([scored(kl=[0.2, -0.4, 0.6], values=[0.5, 1.0, 3.0], score=2.0)], settings, beta=0.5)
    assert found[0].returns.tolist() == pytest.approx([1.8, 1.9, 1.7])
    assert found[0].advantages.tolist() == pytest.approx([1.3, 0.9, -1.3])


def test_gae_is_what_its_recursion_gives_by_hand():
    # gamma 0.5, lambda 0.5, rewards (0, 1), values (2, 4):
    # delta_1 = 1 + 0 - 4 = -3; delta_0 = 0 + 0.5*4 - 2 = 0; A_1 = -3; A_0 = 0 + 0.25 * -3 = -0.75
    settings = AdvantageSettings(whiten=False, gamma=0.5, gae_lambda=0.5)
    found = stage([scored(kl=[0.0, 0.0], values=[2.0, 4.0], score=1.0)], settings)
    assert found[0].advantages.tolist() == pytest.approx([-0.75, -3.0])
    assert found[0].returns.tolist() == pytest.approx([1.25, 1.0])


def test_the_critics_targets_have_a_lambda_of_their_own():
    # as above, and the targets at lambda 1: r_1 = 1, and r_0 + 0.5 * r_1 = 0.5; at lambda 0: 1, and 0.5 * V_1 = 2
    one = scored(kl=[0.0, 0.0], values=[2.0, 4.0], score=1.0)
    for critic_lambda, returns in ((1.0, [0.5, 1.0]), (0.0, [2.0, 1.0]), (None, [1.25, 1.0])):
        settings = AdvantageSettings(whiten=False, gamma=0.5, gae_lambda=0.5, critic_lambda=critic_lambda)
        found = stage([one], settings)
        assert found[0].advantages.tolist() == pytest.approx([-0.75, -3.0])
        assert found[0].returns.tolist() == pytest.approx(returns)


def test_a_tokens_own_share_of_the_kl_is_its_log_ratio_whatever_the_estimator():
    # estimates (0.3, 0.2), log-ratios (0.5, -0.1), beta 1, score 2: rewards (-0.3, 1.8), returns (1.5, 1.8)
    # advantages: -0.5 (own) + 1.8 = 1.3, and 0.1 (own) + 2 = 2.1
    settings = AdvantageSettings(whiten=False, gae_lambda=1.0)
    one = scored(kl=[0.3, 0.2], values=[0.0, 0.0], score=2.0, log_ratios=[0.5, -0.1])
    found = stage([one], settings, beta=1.0)[0]
    assert found.rewards.tolist() == pytest.approx([-0.3, 1.8])
    assert found.returns.tolist() == pytest.approx([1.5, 1.8])
    assert found.advantages.tolist() == pytest.approx([1.3, 2.1])
    # rewards of deviation 1.05 are whitened, and with them the own share: (-0.2, 0.3) / 1.05
    whitened = stage([one], AdvantageSettings(whiten=False, gae_lambda=0.0, whiten_rewards=True), beta=1.0)[0]
    own = (whitened.advantages - whitened.rewards).tolist()
    assert own == pytest.approx([-0.2 / 1.05, 0.3 / 1.05], abs=1e-5)


def test_answers_of_other_lengths_in_the_batch_change_nothing():
    short = scored(kl=[0.1, 0.2], values=[0.3, 0.4], score=1.0)
    long = scored(kl=[0.5] * 7, values=[1.0] * 7, score=-2.0)
    alone, together = stage([short], beta=1.0)[0], stage([long, short], beta=1.0)[1]
    assert torch.equal(alone.advantages, together.advantages)
    assert len(together.rewards) == 2


@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=2, max_size=5))
def test_whitened_advantages_have_mean_0_and_variance_1_over_all_tokens_of_the_whole_batch(values):
    samples = [scored(kl=[0.0] * len(row), values=row, score=float(i)) for i, row in enumerate(values)]
    plain = torch.cat([one.advantages for one in stage(samples)]).double()
    white = torch.cat([one.advantages for one in stage(samples, AdvantageSettings())]).double()
    # biased variance, and 1e-8 under the root, as in the published code
    expected = (plain - plain.mean()) / (plain.var(unbiased=False) + 1e-8).sqrt()
    assert torch.allclose(white, expected, atol=1e-3)


def test_whitened_rewards_keep_their_mean():
    samples = [
        scored(kl=[0.0, 0.0], values=[0.0, 0.0], score=1.0),
        scored(kl=[0.0, 0.0], values=[0.0, 0.0], score=3.0),
    ]
    # rewards (0, 1, 0, 3): mean 1, biased variance (1 + 0 + 1 + 4) / 4 = 1.5
    found = stage(samples, AdvantageSettings(whiten=False, whiten_rewards=True))
    expected = [(r - 1) / 1.5**0.5 + 1 for r in (0.0, 1.0, 0.0, 3.0)]
    assert torch.cat([one.rewards for one in found]).tolist() == pytest.approx(expected, abs=1e-6)


def test_importance_is_trainer_over_engine_truncated_and_1_where_they_agree():
    # exp(-1 + 1.5) = 1.65; exp(-1 + 3) = 7.4, cut at 2; exp(-1 + 0.5) = 0.61
    one = scored(kl=[0.0] * 3, values=[0.0] * 3, score=0.0, old=[-1.0, -1.0, -1.0], engine=[-1.5, -3.0, -0.5])
    assert stage([one], cap=2.0)[0].importance.tolist() == pytest.approx([1.6487, 2.0, 0.6065], abs=1e-4)
    assert stage([one], cap=None)[0].importance.tolist() == [1.0, 1.0, 1.0]
    assert engine_mismatch([one]) == pytest.approx((0.5 + 2.0 + 0.5) / 3)


def test_explained_variance_is_1_for_a_prophet_and_0_for_a_constant():
    prophet = stage(
        [scored(kl=[0.0] * 3, values=[0.0, 0.0, 1.0], score=1.0)], AdvantageSettings(whiten=False, gae_lambda=0)
    )
    # one-step returns are (0, 1, 1); values that equal them explain everything
    assert prophet[0].returns.tolist() == [0.0, 1.0, 1.0]
    settings = AdvantageSettings(whiten=False, gae_lambda=1.0)
    two = [scored(kl=[0.0], values=[v], score=s) for v, s in ((1.0, 1.0), (3.0, 3.0))]
    assert explained_variance(stage(two, settings)) == pytest.approx(1.0)
    two = [scored(kl=[0.0], values=[2.0], score=s) for s in (1.0, 3.0)]
    assert explained_variance(stage(two, settings)) == pytest.approx(0.0)
    same = [scored(kl=[0.0], values=[v], score=1.0) for v in (0.0, 5.0)]
    assert explained_variance(stage(same, settings)) == 0.0


def test_answers_are_alike_by_their_score_and_the_rewards_within_them():
    # 1 - 1 and 0; then 1 + 1 and 2; then 1 - 1 and 2
    for spans, score, same in (([-0.5, -0.5], 0.0, True), ([0.5, 0.5], 2.0, True), ([-0.5, -0.5], 2.0, False)):
        one = scored(kl=[0.0, 0.0], values=None, score=1.0, spans=spans)
        other = scored(kl=[0.0, 0.0], values=None, score=score)
        assert alike([one, other]) == [same, same]
    # each prompt's answers are compared with one another only
    apart = [scored(kl=[0.0], values=None, score=float(group), group=group) for group in (0, 0, 1, 1)]
    assert alike(apart) == [True] * 4
