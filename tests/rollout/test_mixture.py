"""The geometric mixture of two models: its ends are the models, its log-probs those of the formula."""

import copy

import pytest
import torch

from steersman.rollout.engine import Sampling
from steersman.rollout.mixture import MixtureEngine
from steersman.rollout.native import NativeEngine
from steersman.rollout.request import Ending

PROMPTS, SEEDS = [[5, 6, 7], [8, 9], [5]], [11, 12, 13]
SAMPLING = Sampling(6, 1.0)


@pytest.fixture(scope="module")
def models(tiny):
    policy = tiny("llama")
    reference = copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.3)
    return policy, reference


def mixed(models, share: float, budget: int = 10**6):
    policy, reference = models
    engine = MixtureEngine((policy, None), (reference, None), share=share, ending=Ending((2,)), token_budget=budget)
    return engine.generate(PROMPTS, SAMPLING, seeds=SEEDS)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_its_ends_are_the_models_themselves(models, share):
    alone = NativeEngine(models[int(share)], Ending((2,))).generate(PROMPTS, SAMPLING, seeds=SEEDS)
    found = mixed(models, share)
    assert [one.ids for one in found] == [one.ids for one in alone]
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sampling", "never"),
    [
        (Sampling(8, 1.0, min_new_tokens=5), ()),
        (Sampling(8, 1.0, repetition_penalty=1.8), ()),
        (SAMPLING, (7, 11, 40)),
        (Sampling(8, 1.0, stop_ids=tuple(range(60, 120)), min_new_tokens=2), ()),
    ],
)
def test_it_samples_as_the_settings_say(models, sampling, never):
    """As the native engine, which is compared with where the mixture is one model."""
    policy, reference = models
    engine = MixtureEngine(
        (policy, None),
        (reference, None),
        share=0.0,
        ending=Ending(range(2, 60), never),
        token_budget=10**6,
    )
    alone = NativeEngine(policy, Ending(range(2, 60), never_ids=never))
    found, expected = (one.generate(PROMPTS, sampling, samples=8, seeds=1) for one in (engine, alone))
    assert [one.ids for one in found] == [one.ids for one in expected]
    assert [one.finish_reason for one in found] == [one.finish_reason for one in expected]


def test_its_log_probs_are_those_of_the_formula_and_micro_batches_change_nothing(models):
    found = mixed(models, 0.3)
    assert [one.ids for one in mixed(models, 0.3, budget=1)] == [one.ids for one in found]
    for one in found:
        ids = torch.tensor([[*one.prompt_ids, *one.ids]])
        with torch.no_grad():
            steps = [model.hf(input_ids=ids).logits[0].log_softmax(-1) for model in models]
        both = (0.7 * steps[0] + 0.3 * steps[1]).log_softmax(-1)
        before = torch.arange(len(one.ids)) + len(one.prompt_ids) - 1
        torch.testing.assert_close(one.log_probs, both[before, torch.tensor(one.ids)], atol=1e-4, rtol=0)


def test_it_ends_where_the_context_of_the_models_does(tiny):
    backbone = tiny("llama", context=32)
    engine = MixtureEngine((backbone, None), (backbone, None), share=0.5, ending=Ending(()), token_budget=10**6)
    long, short = engine.generate([[5] * 29, [5, 6]], Sampling(6, 1.0), seeds=1)
    assert (len(long.ids), long.finish_reason) == (3, "length")
    assert len(short.ids) == 6
