"""The update's passes recorded: the same numbers as without, few launches, and one reading of the device a minibatch.

Without a GPU a recording is a tape of the dispatched operations, with the semantics of a CUDA graph.
"""

import copy
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

sys.path.append(str(Path(__file__).parents[3] / "bench"))

from launches import actors_of, experiences, learner_of, optimiser_step, tiny_backbone
from steersman.assemble.ppo import run as ppo_run
from steersman.batches import packing_on_cpu
from steersman.execution.context import RunContext
from steersman.execution.machine import Machine
from steersman.methods.ppo.records import Collation
from steersman.methods.ppo.update import PpoObjective
from steersman.models.backbone import Backbone
from steersman.parallel.world import World
from steersman.settings.base import load_settings
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.recorded import CudaRecorder, TapeRecorder

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SAMPLING = SamplingSettings(max_new_tokens=64)
# Launches of the commit before passes were recorded (docs/decisions/0084): 24 layers, 940 tokens.
BEFORE = 3561


def objective(**settings) -> PpoObjective:
    return PpoObjective(UpdateSettings(**settings), KlSettings(), SAMPLING)


def gradients(actors, learner, units, aim):
    """The gradients as the optimiser sees them, and the report."""
    seen = {}
    hook = learner.optimiser.register_step_pre_hook(
        lambda *_: seen.update({n: p.grad.clone() for n, p in actors.named_parameters() if p.grad is not None})
    )
    report = learner.step(units, aim)
    hook.remove()
    return seen, report


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"entropy_coefficient": 0.02, "mean_over": "answers", "dual_clip": 3.0},
        {"policy_loss": "cispo", "mean_over": "constant", "value_clip": None},
    ],
)
def test_recorded_passes_give_the_plain_numbers_in_every_minibatch(settings):
    base, aim = actors_of(tiny_backbone(2)), objective(**settings)
    plain, recorded = copy.deepcopy(base), copy.deepcopy(base)
    teacher = learner_of(plain, recorder=None, precision="fp32")
    plain.backbone.unpadded = 0
    learner = learner_of(recorded, recorder=TapeRecorder(), precision="fp32")
    for seed, answers, tokens in ((0, 16, 940), (1, 16, 930), (2, 15, 950), (3, 16, 700), (4, 16, 940)):
        units = experiences(answers, tokens, seed)
        expected, one = gradients(plain, teacher, units, aim)
        with packing_on_cpu():
            seen, other = gradients(recorded, learner, units, aim)
        assert seen.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(seen[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
        assert other.loss == pytest.approx(one.loss, abs=1e-5)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, abs=1e-5)
        assert other.metrics == pytest.approx(dict(one.metrics), abs=1e-5)
        assert other.terms == pytest.approx(dict(one.terms), abs=1e-5)
        assert other.tokens == one.tokens == tokens
        # so that rounding does not add up over the steps
        recorded.load_state_dict(plain.state_dict())
    assert 2 <= len(learner._recorded) <= 4, "one for each bucket"


def test_micro_batches_add_their_gradients_to_one_another():
    base, aim = actors_of(tiny_backbone(1)), objective()
    whole, parts = copy.deepcopy(base), copy.deepcopy(base)
    one, several = (learner_of(actors, recorder=TapeRecorder(), precision="fp32") for actors in (whole, parts))
    several.progress.token_budget = 300
    units = experiences()
    with packing_on_cpu():
        for _ in range(2):
            expected, _ = gradients(whole, one, units, aim)
            seen, _ = gradients(parts, several, units, aim)
            parts.load_state_dict(whole.state_dict())
    assert len(several._recorded) >= 1
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_policy_that_is_held_gets_no_gradient_of_a_recording():
    actors = actors_of(tiny_backbone(1))
    learner = learner_of(actors, recorder=TapeRecorder(), precision="fp32")
    before = copy.deepcopy(actors.backbone.hf.lm_head.weight.detach())
    with packing_on_cpu():
        learner.step(experiences(), objective())
        moved = copy.deepcopy(actors.backbone.hf.lm_head.weight.detach())
        seen, _ = gradients(actors, learner, experiences(), replace(objective(), policy_held=True))
    assert not torch.equal(before, moved)
    assert "backbone.hf.lm_head.weight" not in seen
    assert "value_head.weight" in seen
    assert len(learner._recorded) == 2, "each objective has its own"


def test_a_loss_that_is_not_finite_moves_nothing_in_a_recording():
    actors = actors_of(tiny_backbone(1))
    said = []
    learner = learner_of(actors, recorder=TapeRecorder(), precision="fp32")
    learner._notice = said.append
    units = experiences()
    with packing_on_cpu():
        learner.step(units, objective())
        before = copy.deepcopy(actors.state_dict())
        bad = [replace(unit, advantages=unit.advantages * float("nan")) for unit in units]
        report = learner.step(bad, objective())
        assert report.skipped
        assert "skipped" in said[0]
        for name, value in actors.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert not learner.step(units, objective()).skipped
    assert not torch.equal(before["value_head.weight"], actors.state_dict()["value_head.weight"])


def test_batches_with_texts_or_without_a_bucket_are_not_recorded():
    units = experiences()
    with packing_on_cpu():
        assert Collation(1, torch.device("cpu"), buckets=True)(units).recordable is not None
        assert Collation(1, torch.device("cpu"))(units).recordable is None
        texts = [units[0].scored.sample.row]
        assert Collation(1, torch.device("cpu"), buckets=True)([*units, *texts]).recordable is None


@pytest.mark.slow
def test_an_optimiser_step_has_a_fifth_of_the_launches_or_less_and_reads_the_device_once():
    recorded = optimiser_step(24, recorded=True)
    assert recorded["launches"] <= 30 < BEFORE / 5
    assert recorded["of"] == {"Tensor.tolist": 1}
    plain = optimiser_step(24, recorded=False)
    assert plain["of"] == {"Tensor.tolist": 1}, "nothing is read inside a minibatch without recordings either"
    assert plain["launches"] < BEFORE
    # forward and backward are the layers' own operations, one launch when recorded; the rest has few already
    assert set(recorded["parts"]) == {"optimiser", "rest"}
    assert plain["parts"]["optimiser"] + plain["parts"]["rest"] <= 30
    assert plain["parts"]["forward"] + plain["parts"]["backward"] > 24 * 100


@pytest.mark.parametrize(
    ("more", "processes", "words"),
    [
        ((), 2, "a recording is for one process, and there are several"),
        (("update.ratio=sequence",), 1, "update.ratio=sequence"),
        (("update.positive_coefficient=0.1",), 1, "update.positive_coefficient"),
    ],
)
def test_a_run_whose_passes_cannot_be_recorded_says_why(more, processes, words, monkeypatch):
    needed = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o", "compute.cuda_graphs=true"]
    settings = load_settings(PpoSettings, None, [*needed, *more])
    said: list[str] = []
    world = World(rank=0, size=processes, device=torch.device("cuda"), mesh=None)
    run = mock.Mock(spec=RunContext, world=world, device=world.device, notice=said.append)
    run.machine = mock.Mock(spec=Machine, precision="bf16")
    actors = actors_of(tiny_backbone(1))
    monkeypatch.setattr(Backbone, "skips_padding", lambda self, *, half: True)
    assert not ppo_run._records(run, settings, actors)
    assert said == [f"compute.cuda_graphs changes nothing here: {words}"]


@ON_GPU
def test_on_a_gpu_a_recording_learns_what_plain_passes_learn():
    base, aim = actors_of(tiny_backbone(2)).to("cuda"), objective()
    plain, recorded = copy.deepcopy(base), copy.deepcopy(base)
    device = torch.device("cuda")
    teacher = learner_of(plain, recorder=None, precision="bf16", device=device)
    learner = learner_of(recorded, recorder=CudaRecorder(), precision="bf16", device=device)
    for seed, tokens in ((0, 940), (1, 930), (2, 700), (3, 940)):
        units = experiences(16, tokens, seed)
        expected, one = gradients(plain, teacher, units, aim)
        seen, other = gradients(recorded, learner, units, aim)
        for name, gradient in expected.items():
            assert (seen[name] - gradient).norm() < 0.06 * gradient.norm() + 1e-6, name
        assert other.loss == pytest.approx(one.loss, abs=2e-2)
        recorded.load_state_dict(plain.state_dict())
    assert len(learner._recorded) >= 2
