"""Weights and moments that are not finite end a run, and are never written."""

import math

import pytest
import torch
from line import TWO, Point, Squares, line_learner

from steersman.errors import NotFinite
from steersman.parallel.world import World
from steersman.train.checkpoint import take_snapshot
from steersman.train.finite import check_result


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.1)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -1e19])
def test_weights_that_are_not_finite_are_not_taken_into_a_checkpoint(broken: float):
    learner = line_learner()
    learner.step(TWO, Squares())
    learner.model.get_parameter("weight").data.fill_(broken)
    with pytest.raises(NotFinite, match=r"step 1 is not written: its weights hold NaN.*1 tensors, the first: weight"):
        take_snapshot(learner, {}, World.alone())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_moments_that_are_not_finite_are_not_taken_into_a_checkpoint(broken: float):
    learner = line_learner(optimiser=adam)
    learner.step(TWO, Squares())
    take_snapshot(learner, {}, World.alone())
    learner.optimiser.state[learner.model.weight]["exp_avg_sq"].fill_(broken)
    with pytest.raises(NotFinite, match=r"its optimiser's moments hold NaN.*exp_avg_sq/weight"):
        take_snapshot(learner, {}, World.alone())


def test_buffers_are_checked_as_well():
    learner = line_learner()
    learner.model.register_buffer("average", torch.tensor(math.nan))
    with pytest.raises(NotFinite, match="the first: average"):
        take_snapshot(learner, {}, World.alone())


def test_a_step_without_a_finite_loss_looks_at_the_weights_and_does_not_wait_for_five():
    learner = line_learner(max_grad_norm=math.inf)
    learner.step(TWO, Squares())
    learner.model.get_parameter("weight").data.fill_(math.nan)
    with pytest.raises(NotFinite, match=r"overflow after step 1 \(weight; step 2: loss nan.*no later step can mend"):
        learner.step([Point(1.0, 0.0)], Squares())


@pytest.mark.parametrize(("value", "skipped"), [(math.nan, 0), (math.inf, 0), (math.nan, 3), (None, 1)])
def test_a_result_without_a_finite_number_is_no_success(value: float | None, skipped: int):
    with pytest.raises(NotFinite, match=r"final weights are not saved as the model: .*(held-out loss is|last 1 steps)"):
        check_result("loss", value, skipped)


@pytest.mark.parametrize(("value", "skipped"), [(0.5, 0), (0.5, 2), (None, 0)])
def test_a_finite_measurement_excuses_skipped_steps(value: float | None, skipped: int):
    check_result("loss", value, skipped)
