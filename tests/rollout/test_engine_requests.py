"""What an engine is asked: impossible requests are refused with words that help."""

import pytest
import torch

from steersman.errors import DataError, UsageError
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling, check_request, sample_seed, seeds_for


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"min_new_tokens": 9},
        {"stop": ("",)},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**({"max_new_tokens": 8, "temperature": 1.0} | wrong))


@pytest.mark.parametrize(
    ("prompts", "samples", "error", "reason"),
    [
        ([], 1, DataError, "no prompts"),
        ([[1]], 0, UsageError, "samples is 0"),
        ([[1], []], 1, DataError, "prompt 1 has no tokens"),
        ([[1, 50]], 1, DataError, "holds the id 50"),
        ([[-1, 5]], 1, DataError, "holds the id -1"),
        ([[1] * 16], 1, DataError, "context of 16"),
    ],
)
def test_requests_that_nobody_could_answer_are_refused(prompts, samples, error, reason):
    with pytest.raises(error, match=reason):
        check_request(prompts, samples, 50, 16)


def test_seeds_are_one_for_all_or_one_for_each_sample():
    assert seeds_for([4, 5, 6, 7], 2, 2) == [4, 5, 6, 7]
    derived = seeds_for(9, 2, 3)
    assert len(set(derived)) == 6
    assert derived == seeds_for(9, 2, 3)
    with pytest.raises(UsageError, match="3 seeds for 2 prompts"):
        seeds_for([1, 2, 3], 2, 2)


def test_a_seed_depends_on_everything_it_is_made_of():
    seed = sample_seed(1, 2, "a", 3)
    assert 0 <= seed < 2**63
    assert seed == sample_seed(1, 2, "a", 3)
    others = [
        sample_seed(2, 2, "a", 3),
        sample_seed(1, 3, "a", 3),
        sample_seed(1, 2, "b", 3),
        sample_seed(1, 2, "a", 4),
    ]
    assert len({seed, *others}) == 5
    assert sample_seed(1, 23, "a", 3) != sample_seed(12, 3, "a", 3)


def test_a_rollout_is_a_row_whose_targets_are_the_answer():
    said = torch.tensor([-1.0, -2.0])
    rollout = Rollout(0, 0, (5, 6), (7, 0), said, said, "end", 1, 0)
    assert rollout.row.ids.tolist() == [5, 6, 7, 0]
    assert rollout.row.loss_mask.tolist() == [False, False, True, True]
