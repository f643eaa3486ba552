"""Learning-rate schedules: golden values, continuity, and what is refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths.schedule import Shape, multiplier, warm_up_steps

SHAPES: list[Shape] = ["constant", "linear", "cosine", "inverse_sqrt"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1]),
        # 4 steps of decay: 1, 3/4, 1/2, 1/4, 0
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
        # (1 + cos(pi k / 4)) / 2: 1, 0.853553, 0.5, 0.146447, 0
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447, 0]),
        # sqrt(2 / (step + 1)): 2/3, 2/4, 2/5, 2/6, 2/7 under the root
        ("inverse_sqrt", [0.5, 1, 0.816497, 0.707107, 0.632456, 0.577350, 0.534522]),
    ],
)
def test_golden_values(shape: Shape, expected: list[float]):
    found = [multiplier(shape, step, total_steps=6, warm_up=2, floor=0.0) for step in range(7)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_golden_floor():
    # Half way down to 0.1: 0.1 + 0.9 / 2 = 0.55, for linear and cosine alike.
    for shape in ("linear", "cosine"):
        assert multiplier(shape, 5, total_steps=10, warm_up=0, floor=0.1) == pytest.approx(0.55)
        assert multiplier(shape, 10_000, total_steps=10, warm_up=0, floor=0.1) == pytest.approx(0.1)
    assert multiplier("inverse_sqrt", 10_000, total_steps=10, warm_up=1, floor=0.1) == pytest.approx(0.1)


@given(st.sampled_from(SHAPES), st.integers(1, 200), st.floats(0, 0.99), st.floats(0, 1))
def test_it_rises_to_one_then_never_rises_again(shape: Shape, total: int, share: float, floor: float):
    warm = warm_up_steps(total, share)
    found = [multiplier(shape, step, total_steps=total, warm_up=share, floor=floor) for step in range(total + 5)]
    assert all(value > 0 for value in found[:total])
    assert all(value <= 1 + 1e-12 for value in found)
    assert found[:warm] == sorted(found[:warm])
    assert found[max(warm - 1, 0) :] == sorted(found[max(warm - 1, 0) :], reverse=True)
    if warm:
        assert found[warm - 1] == 1


def test_warm_up_is_steps_or_a_share():
    assert warm_up_steps(200, 10) == 10
    assert warm_up_steps(200, 0.03) == 6
    assert warm_up_steps(200, 0) == 0
    assert warm_up_steps(200, 0.0) == 0


def test_a_warm_up_longer_than_the_run_never_reaches_the_peak():
    assert multiplier("cosine", 9, total_steps=10, warm_up=20, floor=0.0) == 0.5


@pytest.mark.parametrize("warm_up", [-1, 1.0, -0.1, math.inf])
def test_an_impossible_warm_up_is_refused(warm_up: float):
    with pytest.raises(ValueError, match="warm_up is"):
        warm_up_steps(10, warm_up)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"step": -1}, "step -1 of 10"), ({"total_steps": 0}, "step 0 of 0"), ({"floor": 1.5}, "floor is")],
)
def test_impossible_settings_are_refused(change: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        multiplier("linear", **{"step": 0, "total_steps": 10, "warm_up": 0, "floor": 0.0, **change})
