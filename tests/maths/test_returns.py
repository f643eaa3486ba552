"""Rewards, advantages and returns against hand-worked numbers and a slow loop over one answer at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steersman.maths.returns import advantages_and_returns, last_positions, length_adaptive_lambda, token_rewards


def slowly(rewards: list[float], values: list[float], gamma: float, lambda_: float) -> list[float]:
    """The definition: the discounted sum of all later surprises, for one answer without padding."""
    padded = [*values, 0.0]
    surprises = [r + gamma * padded[t + 1] - padded[t] for t, r in enumerate(rewards)]
    return [
        sum((gamma * lambda_) ** (later - t) * surprises[later] for later in range(t, len(surprises)))
        for t in range(len(surprises))
    ]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    rows, time = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    mask = torch.rand(rows, time, generator=generator) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    rewards, values = (torch.randn(rows, time, generator=generator, dtype=torch.float64) for _ in range(2))
    nowhere = torch.full_like(values, math.nan)
    return torch.where(mask, rewards, nowhere), torch.where(mask, values, nowhere), mask


@given(batches(), st.sampled_from([0.0, 0.9, 1.0]), st.sampled_from([0.0, 0.95, 1.0]))
def test_fast_equals_slow_with_any_mask(batch: tuple[Tensor, Tensor, Tensor], gamma: float, lambda_: float):
    rewards, values, mask = batch
    advantages, returns = advantages_and_returns(rewards, values, mask, gamma=gamma, lambda_=lambda_)
    for row in range(len(mask)):
        kept = mask[row]
        expected = slowly(rewards[row, kept].tolist(), values[row, kept].tolist(), gamma, lambda_)
        assert advantages[row, kept].tolist() == pytest.approx(expected, abs=1e-12)
        assert (returns[row, kept] - values[row, kept]).tolist() == pytest.approx(expected, abs=1e-12)
    assert not advantages[~mask].any()
    assert not returns[~mask].any()


def test_golden_two_tokens():
    # rewards -0.1, 2; values 0.5, 1; gamma 0.9, lambda 0.5.
    # surprises: 2 - 1 = 1; -0.1 + 0.9 * 1 - 0.5 = 0.3; advantages 1 and 0.3 + 0.45 * 1 = 0.75; returns 2 and 1.25.
    rewards, values = torch.tensor([[-0.1, 2.0, 0.0]]), torch.tensor([[0.5, 1.0, 7.0]])
    mask = torch.tensor([[True, True, False]])
    advantages, returns = advantages_and_returns(rewards, values, mask, gamma=0.9, lambda_=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[0.75, 1.0, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.25, 2.0, 0.0]]))


@given(batches())
def test_without_discount_the_return_is_the_reward_to_come(batch: tuple[Tensor, Tensor, Tensor]):
    rewards, values, mask = batch
    advantages, returns = advantages_and_returns(rewards, values, mask, gamma=1.0, lambda_=1.0)
    to_come = torch.where(mask, rewards, 0).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns[mask], to_come[mask])
    torch.testing.assert_close(advantages[mask], (to_come - values)[mask])


def test_golden_token_rewards():
    # KL 1, 2, 3 at coefficient 0.1; the score 5 falls on the last response token, and padding gets nothing.
    kl = torch.tensor([[9.0, 1.0, 2.0, 3.0, math.nan], [1.0, 9.0, 9.0, 9.0, 9.0]])
    mask = torch.tensor([[False, True, True, True, False], [True, False, False, False, False]])
    rewards = token_rewards(torch.tensor([5.0, -1.0]), kl, mask, coefficient=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[0, -0.1, -0.2, 5 - 0.3, 0], [-1.1, 0, 0, 0, 0]]))


def test_the_last_position_is_the_last_true_one():
    assert last_positions(torch.tensor([[True, True, False], [False, False, True]])).tolist() == [1, 2]


def test_a_response_without_tokens_is_refused():
    with pytest.raises(ValueError, match="1 of 2 rows have no response token"):
        token_rewards(torch.zeros(2), torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]), coefficient=0.1)


def test_the_total_reward_is_the_score_minus_the_penalty():
    kl, scores, mask = torch.randn(5, 6), torch.randn(5), torch.rand(5, 6) < 0.6
    mask[:, 0] = True
    rewards = token_rewards(scores, kl, mask, coefficient=0.2)
    torch.testing.assert_close(rewards.sum(1), scores - 0.2 * (kl * mask).sum(1))


def test_golden_length_adaptive_lambda():
    # alpha 0.5: 4 tokens 1 - 1/2, 2 tokens 1 - 1, 1 token below 0
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False, True, False, False]])
    assert length_adaptive_lambda(mask, alpha=0.5).tolist() == [0.5, 0.0, 0.0]


def test_each_answer_may_have_a_lambda_of_its_own():
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(2, 5, dtype=torch.bool)
    both, _ = advantages_and_returns(
        rewards, values, mask, gamma=0.9, lambda_=torch.tensor([0.3, 0.8], dtype=torch.float64)
    )
    for row, lambda_ in enumerate((0.3, 0.8)):
        alone, _ = advantages_and_returns(rewards, values, mask, gamma=0.9, lambda_=lambda_)
        torch.testing.assert_close(both[row], alone[row])
