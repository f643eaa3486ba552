"""Numbers that are not finite are found wherever they stand."""

import math

import pytest
import torch

from steersman.maths.finite import not_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 17, 64, 99])
def test_one_number_that_is_not_finite_is_found_in_any_place(dtype: torch.dtype, broken: float, place: int):
    whole = torch.linspace(-3, 3, 100).to(dtype)
    damaged = whole.clone()
    damaged[place] = broken
    assert not_finite([("whole", whole), ("damaged", damaged), ("turned", damaged.view(10, 10).T)]) == [
        "damaged",
        "turned",
    ]


def test_a_bound_is_itself_still_allowed():
    tensors = [("low", torch.tensor([-3.0, 1.0])), ("high", torch.tensor([0.0, 2.5])), ("at it", torch.tensor([2.0]))]
    assert not_finite(tensors) == []
    assert not_finite(tensors, bound=2.5) == ["low"]
    assert not_finite(tensors, bound=2.0) == ["low", "high"]


def test_integers_empty_tensors_and_quantised_weights_are_left_alone():
    quantised = torch.zeros(3).to(torch.float8_e4m3fn)
    assert not_finite([("ids", torch.tensor([1])), ("none", torch.empty(0)), ("quantised", quantised)]) == []
