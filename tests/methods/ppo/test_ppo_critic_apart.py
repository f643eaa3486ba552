"""A critic with weights of its own, computed after the policy's gradients are there, learns what it learns beside the
policy; and holds less."""

import copy

import pytest
import torch
from byhand import experience
from test_ppo_reading import actors_of

from steersman.methods.ppo.records import collate
from steersman.methods.ppo.update import PpoObjective
from steersman.parallel.world import World
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

CPU = torch.device("cpu")


def answers():
    generator = torch.Generator().manual_seed(5)
    found = []
    for count in (3, 9, 1, 6, 4):
        values, returns, advantages = torch.randn(3, count, generator=generator).tolist()
        old = (-torch.rand(count, generator=generator) - 5).tolist()
        found.append(experience(advantages=advantages, returns=returns, values=values, old=old))
    return found


def stepped(actors, budget):
    learner = Learner(
        actors,
        Optimisation(
            torch.optim.AdamW([p for p in actors.parameters() if p.requires_grad], lr=1e-3),
            rate_at=lambda step: 1.0,
            max_grad_norm=1.0,
        ),
        Batching(lambda units: collate(units, pad_id=0, device=CPU, pad_multiple=1), budget),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )
    objective = PpoObjective(UpdateSettings(entropy_coefficient=0.01), KlSettings(), SamplingSettings(max_new_tokens=9))
    asked: list[str] = []
    actors.values, usual = lambda batch: asked.append("values") or usual(batch), actors.values
    reports = [learner.step(answers(), objective) for _ in range(2)]
    del actors.values
    return reports, {name: p.detach().clone() for name, p in actors.named_parameters()}, asked


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1000, 12], ids=["one micro-batch", "several"])
@pytest.mark.parametrize("layout", ["separate", "adapters-own-critic"])
def test_a_step_is_the_same_one_after_the_other_and_side_by_side(layout, budget, tmp_path):
    apart = actors_of(layout, tmp_path)
    if layout == "separate":
        apart.frozen.requires_grad_(False)
    else:
        for name, parameter in apart.backbone.named_parameters():
            parameter.requires_grad_("lora_" in name)
    together = copy.deepcopy(apart)
    together.sharded = True
    assert apart.critic_apart
    assert not together.critic_apart
    reports, weights, asked = stepped(apart, budget)
    others, other_weights, _ = stepped(together, budget)
    assert asked
    for one, other in zip(reports, others, strict=True):
        assert one.terms.keys() == other.terms.keys() == {"policy", "entropy", "value"}
        assert one.metrics.keys() == other.metrics.keys()
        for name, value in (*other.terms.items(), *other.metrics.items()):
            assert {**one.terms, **one.metrics}[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, other_weights[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
def test_a_critic_on_the_policys_trunk_is_never_apart(tmp_path):
    for layout in ("shared", "adapters", "no critic"):
        assert not actors_of(layout, tmp_path / layout.replace(" ", "-")).critic_apart
