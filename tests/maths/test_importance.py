"""Importance weights for an engine that differs from the trainer: hand-worked numbers of the four kinds."""

import pytest
import torch
from torch import Tensor

from steersman.maths.importance import importance_weights

TOKENS = {"of_answer": False, "floor": 0.0}
ANSWER = {"of_answer": True, "floor": 0.0}


def logs(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


# ratios 1, 4, 0.25, 2: their product is 2
TRAINER, ENGINE = logs(0.5, 0.4, 0.1, 0.6), logs(0.5, 0.1, 0.4, 0.3)


def weights(**options) -> list[float]:
    found = importance_weights(TRAINER.clone().requires_grad_(), ENGINE, **options)
    assert not found.requires_grad
    return [round(value, 12) for value in found.tolist()]


def test_golden_truncated():
    assert weights(mask=False, cap=3.0, **TOKENS) == [1, 3, 0.25, 2]
    assert weights(mask=False, cap=3.0, **ANSWER) == [2, 2, 2, 2]
    assert weights(mask=False, cap=1.5, **ANSWER) == [1.5] * 4


def test_golden_masked():
    # 4 is above the cap, 0.25 below the floor; what is kept keeps its ratio
    assert weights(mask=True, cap=3.0, of_answer=False, floor=0.5) == [1, 0, 0, 2]
    assert weights(mask=True, cap=3.0, **TOKENS) == [1, 0, 0.25, 2]
    assert weights(mask=True, cap=3.0, **ANSWER) == [2, 2, 2, 2]
    assert weights(mask=True, cap=1.9, **ANSWER) == [0, 0, 0, 0]


def test_a_ratio_at_a_bound_is_kept():
    found = importance_weights(logs(0.5, 0.25), logs(0.25, 0.5), of_answer=False, mask=True, floor=0.5, cap=2.0)
    assert found.tolist() == [2, 0.5]


def test_an_engine_that_agrees_has_weights_of_one_whatever_the_kind():
    for of_answer in (False, True):
        for mask in (False, True):
            same = importance_weights(TRAINER, TRAINER, of_answer=of_answer, mask=mask, floor=0.5, cap=1.0)
            assert same.tolist() == [1.0] * 4


def test_a_cap_below_one_is_refused():
    for mask in (False, True):
        with pytest.raises(ValueError, match=r"cap is 0\.5"):
            importance_weights(TRAINER, ENGINE, mask=mask, cap=0.5, **TOKENS)
