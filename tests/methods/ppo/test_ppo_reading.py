"""What the engine knew already is what the models would say once more."""

from dataclasses import replace

import pytest
import torch

from steersman.batches import pad_rows
from steersman.methods.ppo.advantage import engine_mismatch
from steersman.methods.ppo.forward import (
    CHECKED_SHARE,
    ForwardSetup,
    TokenQuantities,
    all_from_models,
    checked_samples,
    token_quantities,
)
from steersman.methods.ppo.records import Sample, Scored
from steersman.methods.ppo.roles import ModelActors
from steersman.models.adapters import add_lora
from steersman.models.backbone import Backbone
from steersman.models.heads import ValueHead
from steersman.models.loading import load_causal
from steersman.models.tiny import write_tiny_model
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.rollout.engine import Sampling
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending
from steersman.settings.shaping import KlSettings

TEMPERATURE = 0.7
LAYOUTS = ["shared", "separate", "adapters", "adapters-own-critic", "no critic"]


def tiny(folder) -> Backbone:
    return load_causal(write_tiny_model(folder, "llama", hidden=64), dtype=torch.float32, device="cpu")


def actors_of(layout: str, tmp_path) -> ModelActors:
    torch.manual_seed(3)
    backbone = tiny(tmp_path / "policy")
    head = ValueHead(backbone.hidden_size)
    torch.nn.init.normal_(head.weight, std=0.1)
    torch.nn.init.normal_(head.bias)
    if not layout.startswith("adapters"):
        return ModelActors(
            backbone,
            None if layout == "no critic" else head,
            policy_adapter=None,
            value_adapter=None,
            critic=tiny(tmp_path / "critic") if layout == "separate" else None,
            frozen=tiny(tmp_path / "reference"),
        )
    names = ["policy", "value"] if layout == "adapters-own-critic" else ["policy"]
    for name in names:
        add_lora(backbone, name, rank=4, alpha=8)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    own = names[1] if len(names) > 1 else None
    return ModelActors(backbone, head, policy_adapter="policy", value_adapter=own, critic=None, frozen=None)


def answered(actors: ModelActors, **sampling) -> tuple[NativeEngine, list[Sample]]:
    engine = NativeEngine(
        actors.backbone,
        Ending((3,)),
        acting_as=actors.policy_adapter,
        with_token_info=True,
        value_head=actors.value_head if actors.values_on_the_policys_trunk else None,
        options=DecodingOptions(rows=5),
    )
    prompts = [list(range(5, 5 + length)) for length in (2, 9, 4, 7, 3, 12, 6, 2, 8)]
    asked = Sampling(max_new_tokens=9, temperature=TEMPERATURE, **sampling)
    rollouts = engine.generate(prompts, asked, samples=3, seeds=11)
    return engine, [Sample(Prompt(text=str(one.prompt)), one, "?", one.row) for one in rollouts]


def reading(budget: int = 200) -> ForwardSetup:
    return ForwardSetup(
        TEMPERATURE,
        budget,
        lambda rows: pad_rows(rows, pad_id=0),
        torch.no_grad,
        World.alone(),
        unpadded=True,
    )


def assert_same(one: TokenQuantities, other: TokenQuantities) -> None:
    for name in ("old_log_probs", "reference_log_probs", "kl", "entropies", "values"):
        here, there = getattr(one, name), getattr(other, name)
        assert (here is None) == (there is None), name
        if here is not None:
            # a KL is the difference of two log-probabilities, each of which may be off by so much
            bound = 2e-5 if name == "kl" else 1e-5
            torch.testing.assert_close(
                here, there, atol=bound, rtol=1e-5, msg=lambda words, name=name: f"{name}: {words}"
            )


QUICK = [("shared", {}), ("separate", {}), ("no critic", {"top_p": 0.9})]
EVERY = [(layout, filters) for layout in LAYOUTS for filters in ({}, {"top_p": 0.9})]


@pytest.mark.parametrize(
    ("layout", "filters"),
    [pytest.param(*one, marks=() if one in QUICK else pytest.mark.slow) for one in EVERY],
    ids=[f"{layout}, {'top-p' if filters else 'plain'}" for layout, filters in EVERY],
)
def test_what_the_engine_knew_is_what_the_models_say(layout, filters, tmp_path):
    actors = actors_of(layout, tmp_path)
    engine, samples = answered(actors, **filters)
    assert engine.path == "fused"
    quick = token_quantities(samples, actors, reading(), KlSettings())
    full = all_from_models(samples, actors, reading(), KlSettings())
    assert [i for i, one in enumerate(quick) if not one.taken_from_engine] == checked_samples(len(samples))
    assert not any(one.taken_from_engine for one in full)
    for one, other in zip(quick, full, strict=True):
        assert_same(one, other)


def test_an_engine_that_is_wrong_is_not_believed(tmp_path):
    actors = actors_of("shared", tmp_path)
    _, samples = answered(actors)
    checked = samples[0].rollout
    lies = [
        replace(checked, log_probs=checked.log_probs - 0.01),
        replace(checked, values=checked.values + 0.01),
        replace(checked, entropies=checked.entropies + 0.01),
        replace(checked, entropies=None, values=None),
    ]
    for lie in lies:
        told = [replace(samples[0], rollout=lie), *samples[1:]]
        read = token_quantities(told, actors, reading(), KlSettings())
        assert not any(one.taken_from_engine for one in read)
        for one, other in zip(read, all_from_models(samples, actors, reading(), KlSettings()), strict=True):
            assert_same(one, other)


def test_an_exact_kl_is_read_in_full(tmp_path):
    actors = actors_of("shared", tmp_path)
    _, samples = answered(actors)
    assert not any(
        one.taken_from_engine for one in token_quantities(samples, actors, reading(), KlSettings(estimator="full"))
    )


def test_a_value_head_that_has_changed_is_read_as_it_is_now(tmp_path):
    actors = actors_of("shared", tmp_path)
    engine, _ = answered(actors)
    with torch.no_grad():
        actors.value_head.bias.add_(5.0)
    rollouts = engine.generate([[5, 6, 7]], Sampling(max_new_tokens=4, temperature=TEMPERATURE), seeds=0)
    sample = Sample(Prompt(text="?"), rollouts[0], "?", rollouts[0].row)
    (full,) = all_from_models([sample], actors, reading(), KlSettings())
    torch.testing.assert_close(rollouts[0].values, full.values, atol=1e-5, rtol=0)


def test_the_mismatch_is_that_of_the_answers_which_the_trainer_read(tmp_path):
    actors = actors_of("no critic", tmp_path)
    _, samples = answered(actors)
    zeros = [torch.zeros(len(sample.rollout.ids)) for sample in samples]
    scored = [
        Scored(
            sample=sample,
            score=0.0,
            raw_score=0.0,
            parts={},
            token_rewards=zero,
            old_log_probs=sample.rollout.log_probs + (0.0 if i % CHECKED_SHARE else 0.25),
            reference_log_probs=zero,
            kl=zero,
            entropies=zero,
            values=None,
            taken_from_engine=i % CHECKED_SHARE != 0,
        )
        for i, (sample, zero) in enumerate(zip(samples, zeros, strict=True))
    ]
    assert engine_mismatch(scored) == pytest.approx(0.25, abs=1e-6)


def test_one_sample_in_16_is_checked():
    assert checked_samples(33) == [0, 16, 32]
    assert checked_samples(16) == [0]
    assert checked_samples(0) == []
