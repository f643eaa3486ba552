"""Advantages within a group: numbers by hand, the formulas of TRL written out, properties, and a slow loop."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.group_advantages import all_alike, dr_grpo_advantages, grpo_advantages, rloo_advantages

GROUPS = torch.tensor([0, 0, 0, 1, 1, 1])
REWARDS = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0], dtype=torch.float64)
KINDS = (rloo_advantages, dr_grpo_advantages, grpo_advantages)

sizes_and_rewards = st.lists(st.lists(st.floats(-20, 20), min_size=2, max_size=5), min_size=1, max_size=5)


def flat(rows: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    rewards = torch.tensor([reward for row in rows for reward in row], dtype=torch.float64)
    return rewards, torch.tensor([number for number, row in enumerate(rows) for _ in row])


def test_rloo_is_the_reward_less_the_mean_of_the_others():
    # 1 - (2 + 6) / 2 = -3; 2 - 3.5 = -1.5; 6 - 1.5 = 4.5; 0 - 1.5 = -1.5 twice; 3 - 0 = 3
    assert rloo_advantages(REWARDS, GROUPS).tolist() == pytest.approx([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0])


def test_dr_grpo_is_the_reward_less_the_mean_of_all():
    assert dr_grpo_advantages(REWARDS, GROUPS).tolist() == pytest.approx([-2.0, -1.0, 3.0, -1.0, -1.0, 2.0])


def test_grpo_is_that_in_standard_deviations():
    # (4 + 1 + 9) / 2 = 7 and (1 + 1 + 4) / 2 = 3, under a root, and 1e-4 more
    expected = [x / (7**0.5 + 1e-4) for x in (-2, -1, 3)] + [x / (3**0.5 + 1e-4) for x in (-1, -1, 2)]
    assert grpo_advantages(REWARDS, GROUPS).tolist() == pytest.approx(expected)


def test_they_are_what_trls_lines_compute():
    rewards = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # RLOOTrainer: baselines from the sum of the group; GRPOTrainer: view(-1, num_generations), mean, std, 1e-4
    baselines = (rewards.sum(1, keepdim=True) - rewards) / 3
    groups = torch.arange(8).repeat_interleave(4)
    assert torch.allclose(rloo_advantages(rewards.flatten(), groups), (rewards - baselines).flatten(), atol=1e-12)
    grpo = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    assert torch.allclose(grpo_advantages(rewards.flatten(), groups), grpo.flatten(), atol=1e-12)


@given(sizes_and_rewards)
def test_groups_of_any_sizes_are_what_a_slow_loop_finds(rows):
    rewards, groups = flat(rows)
    others = [x - statistics.fmean(row[:i] + row[i + 1 :]) for row in rows for i, x in enumerate(row)]
    assert rloo_advantages(rewards, groups).tolist() == pytest.approx(others, abs=1e-9)
    centred = [x - statistics.fmean(row) for row in rows for x in row]
    assert dr_grpo_advantages(rewards, groups).tolist() == pytest.approx(centred, abs=1e-9)
    deviations = [statistics.stdev(row) for row in rows for _ in row]
    expected = [c / (d + 1e-4) for c, d in zip(centred, deviations, strict=True)]
    assert grpo_advantages(rewards, groups).tolist() == pytest.approx(expected, abs=1e-6)
    assert all_alike(rewards, groups).tolist() == [len(set(row)) == 1 for row in rows for _ in row]


@given(sizes_and_rewards, st.floats(-50, 50), st.floats(0.5, 20))
def test_each_group_sums_to_0_and_knows_no_shift_and_grpo_no_scale(rows, shift, scale):
    rewards, groups = flat(rows)
    shifts = shift * groups
    for kind in KINDS:
        found = kind(rewards, groups)
        sums = torch.zeros(len(rows), dtype=torch.float64).index_add(0, groups, found)
        assert sums.tolist() == pytest.approx([0.0] * len(rows), abs=1e-8)
        assert torch.allclose(kind(rewards + shifts, groups), found, atol=1e-7)
    wide = torch.tensor([statistics.stdev(row) > 0.5 for row in rows for _ in row])
    scaled, plain = grpo_advantages(scale * rewards, groups), grpo_advantages(rewards, groups)
    assert torch.allclose(scaled[wide], plain[wide], rtol=1e-3)
    assert torch.allclose(rloo_advantages(scale * rewards, groups), scale * rloo_advantages(rewards, groups))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_answers_and_the_numbers_of_groups_change_nothing(kind):
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    assert torch.allclose(kind(REWARDS[order], 7 - 3 * GROUPS[order]), kind(REWARDS, GROUPS)[order])


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_is_alone_cannot_be_compared(kind):
    with pytest.raises(ValueError, match="1 answers are the only ones to their prompt"):
        kind(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]))


def test_a_group_of_equal_rewards_has_no_advantage_in_any_unit():
    equal = torch.full((4,), 0.1)
    for kind in KINDS:
        assert kind(equal, torch.zeros(4, dtype=torch.long)).abs().max() < 1e-3
