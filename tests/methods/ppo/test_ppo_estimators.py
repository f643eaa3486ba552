"""Advantages without a critic: each estimator by hand, what they share, and their losses as the papers have them."""

import pytest
import torch
from byhand import scored
from hypothesis import given
from hypothesis import strategies as st
from test_ppo_update import Given, objective, step

from steersman.methods.ppo.advantage import advantage, alike
from steersman.reward.shaping import overlong
from steersman.settings.advantage import AdvantageSettings
from steersman.settings.shaping import KlSettings

IN_GROUPS = ("rloo", "grpo", "dr-grpo")


def two_prompts() -> list:
    """Answers of 2, 1 and 3 tokens to one prompt, of 2 and 2 to another; each token has a log-ratio of 0.1."""
    given = [(2, 1.0, 0), (1, 2.0, 0), (3, 6.0, 0), (2, 0.0, 1), (2, 4.0, 1)]
    return [scored(kl=[0.1] * n, values=None, score=score, group=group) for n, score, group in given]


def stage(samples, estimator, *, beta=0.0, **settings):
    chosen = AdvantageSettings(estimator=estimator, **settings)
    return advantage(samples, chosen, kl_coefficient=beta, importance=None)


def firsts(experience) -> list[float]:
    return [float(one.advantages[0]) for one in experience]


def test_rloo_compares_whole_answers_less_their_kl_with_the_other_answers_to_their_prompt():
    # beta 1: rewards 1 - 0.2, 2 - 0.1, 6 - 0.3 and -0.2, 3.8
    # 0.8 - (1.9 + 5.7) / 2 = -3; 1.9 - 3.25 = -1.35; 5.7 - 1.35 = 4.35; -0.2 - 3.8 = -4; 4
    found = stage(two_prompts(), "rloo", beta=1.0)
    assert firsts(found) == pytest.approx([-3.0, -1.35, 4.35, -4.0, 4.0], abs=1e-6)
    assert [one.returns[0].item() for one in found] == pytest.approx([0.8, 1.9, 5.7, -0.2, 3.8], abs=1e-6)


def test_grpo_is_in_standard_deviations_and_dr_grpo_is_not():
    # means 3 and 2; deviations sqrt((4 + 1 + 9) / 2) and sqrt((4 + 4) / 1)
    assert firsts(stage(two_prompts(), "dr-grpo")) == pytest.approx([-2.0, -1.0, 3.0, -2.0, 2.0])
    expected = [x / (7**0.5 + 1e-4) for x in (-2, -1, 3)] + [x / (8**0.5 + 1e-4) for x in (-2, 2)]
    assert firsts(stage(two_prompts(), "grpo")) == pytest.approx(expected)


def test_reinforce_pays_each_token_what_comes_after_it_and_whitens_over_the_batch():
    # beta 1, one answer: rewards (-0.1, -0.1 + 1), to the end (0.8, 0.9); another of one token: 2 - 0.1 = 1.9
    plain = stage(two_prompts()[:2], "reinforce++", beta=1.0, whiten=False)
    assert [one.advantages.tolist() for one in plain] == [pytest.approx([0.8, 0.9]), pytest.approx([1.9])]
    # mean 1.2; biased variance (0.16 + 0.09 + 0.49) / 3
    white = stage(two_prompts()[:2], "reinforce++", beta=1.0)
    expected = [x / (0.74 / 3) ** 0.5 for x in (-0.4, -0.3, 0.7)]
    assert torch.cat([one.advantages for one in white]).tolist() == pytest.approx(expected, abs=1e-5)
    discounted = stage(two_prompts()[:1], "reinforce++", gamma=0.5, whiten=False)
    assert discounted[0].advantages.tolist() == pytest.approx([0.5, 1.0])


def test_a_tokens_own_share_of_the_kl_is_its_log_ratio_for_reinforce_too():
    one = scored(kl=[0.3, 0.2], values=None, score=2.0, log_ratios=[0.5, -0.1])
    # the last token: 2 + 0.1; the first: 2 - 0.2 (the estimate for what follows) - 0.5
    assert stage([one], "reinforce++", beta=1.0, whiten=False)[0].advantages.tolist() == pytest.approx([1.3, 2.1])


@pytest.mark.parametrize("estimator", IN_GROUPS)
def test_every_token_of_an_answer_has_the_answers_advantage(estimator):
    for one in stage(two_prompts(), estimator, beta=0.5):
        assert one.advantages.tolist() == [one.advantages[0].item()] * one.tokens
        assert one.importance.tolist() == [1.0] * one.tokens


@pytest.mark.parametrize("estimator", [*IN_GROUPS, "reinforce++"])
def test_the_order_in_which_answers_come_changes_nothing(estimator):
    samples = two_prompts()
    order = [3, 1, 4, 0, 2]
    plain = stage(samples, estimator, beta=0.5)
    mixed = stage([samples[i] for i in order], estimator, beta=0.5)
    for i, one in zip(order, mixed, strict=True):
        assert one.advantages.tolist() == pytest.approx(plain[i].advantages.tolist(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", IN_GROUPS)
@given(shift=st.floats(-5, 5))
def test_a_prompt_that_is_easier_for_all_its_answers_changes_nothing(estimator, shift):
    samples = two_prompts()
    given = [(2, 1.0, 0), (1, 2.0, 0), (3, 6.0, 0), (2, shift, 1), (2, 4.0 + shift, 1)]
    moved = [scored(kl=[0.1] * n, values=None, score=score, group=group) for n, score, group in given]
    assert firsts(stage(moved, estimator)) == pytest.approx(firsts(stage(samples, estimator)), abs=1e-4)


def test_whitening_can_be_asked_for_and_rewards_within_the_answer_count():
    white = torch.cat([one.advantages for one in stage(two_prompts(), "rloo", whiten=True)])
    assert float(white.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(white.var(unbiased=False)) == pytest.approx(1.0, abs=1e-5)
    pair = [
        scored(kl=[0.0] * 2, values=None, score=1.0, spans=[0.5, 0.25]),
        scored(kl=[0.0], values=None, score=1.0),
    ]
    assert firsts(stage(pair, "rloo")) == pytest.approx([0.75, -0.75])


def test_gae_says_that_it_needs_values():
    with pytest.raises(ValueError, match="gae needs the value of every token"):
        stage(two_prompts(), "gae")


def test_prompts_whose_answers_all_score_alike_are_known():
    same = [
        scored(kl=[0.1], values=None, score=1.0, group=0),
        scored(kl=[0.9], values=None, score=1.0, group=0),
    ]
    other = [
        scored(kl=[0.1], values=None, score=1.0, group=1),
        scored(kl=[0.1], values=None, score=1.0, spans=[0.5], group=1),
    ]
    assert alike([same[0], other[0], same[1], other[1]]) == [True, False, True, False]


# The losses, of two answers of 3 and 1 tokens with advantages 1 and -4 at ratio 1, minus signs as a loss has them:
LOSSES = {
    # all tokens: -(1 + 1 + 1 - 4) / 4
    "tokens": 0.25,
    # each answer's mean, and their mean: -(1 - 4) / 2
    "answers": 1.5,
    # sums over 8 (max_new_tokens), mean of two answers: -(3 - 4) / 8 / 2
    "constant": 1 / 16,
}


def unequal() -> list:
    samples = [scored(kl=[0.0] * n, values=None, score=s, old=[-1.0] * n) for n, s in ((3, 1.0), (1, -4.0))]
    found = stage(samples, "reinforce++", whiten=False)
    assert [one.advantages.tolist() for one in found] == [[1.0] * 3, [-4.0]]
    return found


class NoCritic(Given):
    def policy(self, batch, *, temperature, with_entropy):
        return *super().policy(batch, temperature=temperature, with_entropy=with_entropy)[:2], None


@pytest.mark.parametrize("budget", [1, 10**6])
@pytest.mark.parametrize(("mean_over", "expected"), LOSSES.items())
def test_the_loss_is_the_mean_that_was_asked_for_whatever_the_micro_batches(mean_over, expected, budget):
    report = step(NoCritic([-1.0] * 3, [0.0] * 3), unequal(), objective(mean_over=mean_over), budget=budget)
    assert report.terms == {"policy": pytest.approx(expected)}
    assert report.loss == pytest.approx(expected)
    assert "value clip fraction" not in report.metrics


def test_the_losses_are_those_of_trl_with_the_kl_in_the_loss():
    # two answers, the policy has moved: per token -min(ratio A, clip(ratio) A) + beta k3, as in GRPOTrainer, for its
    # loss types grpo, dapo (here all tokens of the batch) and dr_grpo
    said, old = torch.tensor([-0.9, -1.3, -0.7]), torch.tensor(-1.0)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    advantages = torch.tensor([[1.0], [-4.0]])
    log_probs = said.expand(2, 3)
    ratio = (log_probs - old).exp()
    held = ratio.clamp(1 - 0.2, 1 + 0.28)
    per_token = -torch.min(ratio * advantages, held * advantages)
    per_token = per_token + 0.04 * (torch.exp(old - log_probs) - (old - log_probs) - 1)
    expected = {
        "answers": ((per_token * mask).sum(-1) / mask.sum(-1)).mean(),
        "tokens": (per_token * mask).sum() / mask.sum(),
        "constant": (per_token * mask).sum() / (per_token.size(0) * 8),
    }
    kl = KlSettings(coefficient=0.0, loss_coefficient=0.04, loss_estimator="k3")
    for mean_over, loss in expected.items():
        aim = objective(kl, mean_over=mean_over, clip_high=0.28)
        report = step(NoCritic(said.tolist(), [0.0] * 3), unequal(), aim)
        assert report.loss == pytest.approx(float(loss), abs=1e-6), mean_over


def test_at_ratio_1_rloos_gradient_is_that_of_reinforce_over_whole_answers():
    # RLOO: -mean over answers of A * log policy(answer); its gradient by the t-th number is minus the mean of A over
    # the answers that have a t-th token. Ours is that divided by max_new_tokens: (-(1 - 4), -1, -1) / 2 / 8.
    actors = NoCritic([-1.0] * 3, [0.0] * 3)
    seen: list[torch.Tensor] = []
    actors.log_probs.register_hook(lambda gradient: seen.append(gradient.clone()))
    step(actors, unequal(), objective(mean_over="constant"))
    assert torch.stack(seen).sum(0).tolist() == pytest.approx([3 / 16, -1 / 16, -1 / 16])


def test_an_answer_pays_for_its_last_tokens_before_the_longest_length():
    # DAPO, equation 13, with L_max 20 and a cache of 4: free up to 16, then a quarter more each
    assert [overlong(n, longest=20, last=4) for n in (1, 16, 17, 19, 20)] == [0.0, 0.0, 0.25, 0.75, 1.0]
