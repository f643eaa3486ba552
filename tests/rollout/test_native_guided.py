"""Answers that lean on Q heads: drawn from policy * exp(beta * (min Q - V)), with the policy's own log-probabilities
beside."""

import pytest
import torch

from steersman.errors import UsageError
from steersman.models.acting import acting_as
from steersman.models.adapters import add_lora
from steersman.models.backbone import Backbone
from steersman.models.q_heads import Guide, QHeads, heads_for
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [20, 21, 22], [30] * 17]


def opinionated(backbone: Backbone, seed: int = 3) -> QHeads:
    """Heads that think something of every token, and of which the targets differ from what learns."""
    heads = heads_for(backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for head in (*heads.q_heads, *heads.target_heads, heads.value):
            for tensor in (head.outer, head.outer_bias):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return heads


def plain(backbone: Backbone, heads: QHeads, rollout: Rollout, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of policy and of leaning policy at each token of an answer, by one plain pass and the formula with V in
    it."""
    ids, start = torch.tensor([rollout.prompt_ids + rollout.ids]), len(rollout.prompt_ids)
    with torch.no_grad():
        seen = backbone.hf(input_ids=ids, use_cache=False, output_hidden_states=True)
        logits, states = seen.logits[0, start - 1 : -1], seen.hidden_states[-1][0, start - 1 : -1]
        q = torch.minimum(*(head(states) for head in heads.target))
        return logits, logits.log_softmax(-1) + beta * (q - heads.value(states))


def at(logits: torch.Tensor, rollout: Rollout) -> torch.Tensor:
    return logits.log_softmax(-1).gather(1, torch.tensor(rollout.ids)[:, None])[:, 0]


@pytest.mark.parametrize(
    ("family", "path"),
    [("llama", "fused"), ("gemma3", "fused"), ("gpt2", "cached"), ("llama", "cached"), ("opt", "whole")],
)
def test_tokens_are_drawn_from_the_policy_leaning_on_q(family, path, tiny):
    backbone = tiny(family)
    heads = opinionated(backbone)
    engine = NativeEngine(backbone, Ending((0,)), guide=Guide(heads, 2.0), options=DecodingOptions(path=path, rows=4))
    assert engine.path == path
    moved = 0.0
    for rollout in engine.generate(PROMPTS, Sampling(12, 0.8), samples=2, seeds=3):
        policy, leaning = plain(backbone, heads, rollout, 2.0)
        torch.testing.assert_close(rollout.log_probs, at(policy / 0.8, rollout), atol=1e-4, rtol=0)
        expected = at(leaning / 0.8, rollout)
        torch.testing.assert_close(rollout.sampling_log_probs, expected, atol=1e-4, rtol=0)
        moved = max(moved, float((rollout.log_probs - expected).abs().max()))
    assert moved > 0.5


def test_the_likeliest_token_is_that_of_the_leaning_policy(tiny):
    backbone = tiny("llama")
    heads = opinionated(backbone)
    engine = NativeEngine(backbone, Ending((0,)), guide=Guide(heads, 0.0))
    changed = 0
    for rollout in engine.generate(PROMPTS, Sampling(12, 0.0, q_beta=4.0), seeds=3):
        policy, leaning = plain(backbone, heads, rollout, 4.0)
        assert leaning.argmax(-1).tolist() == list(rollout.ids)
        changed += int((policy.argmax(-1) != leaning.argmax(-1)).sum())
    assert changed > 0


def test_filters_apply_to_the_leaning_policy(tiny):
    backbone = tiny("llama")
    heads = opinionated(backbone)
    engine = NativeEngine(backbone, Ending((0,)), guide=Guide(heads, 3.0))
    for rollout in engine.generate(PROMPTS, Sampling(12, 1.0, top_k=3), samples=2, seeds=3):
        _, leaning = plain(backbone, heads, rollout, 3.0)
        best = leaning.topk(3).indices
        assert all(token in kept for token, kept in zip(rollout.ids, best.tolist(), strict=True))


def test_what_the_request_says_goes_before_what_the_model_says(tiny):
    backbone = tiny("llama")
    heads = opinionated(backbone)
    alone = NativeEngine(backbone, Ending((0,))).generate(PROMPTS, Sampling(12, 1.0), seeds=3)
    engine = NativeEngine(backbone, Ending((0,)), guide=Guide(heads, 2.0))
    assert engine.generate(PROMPTS, Sampling(12, 1.0, q_beta=0.0), seeds=3) == alone
    own = engine.generate(PROMPTS, Sampling(12, 1.0), seeds=3)
    assert own == engine.generate(PROMPTS, Sampling(12, 1.0, q_beta=2.0), seeds=3)
    assert own != alone
    assert own != engine.generate(PROMPTS, Sampling(12, 1.0, q_beta=5.0), seeds=3)


def test_heads_that_have_learned_nothing_change_nothing(tiny):
    backbone = tiny("llama")
    alone = NativeEngine(backbone, Ending((0,))).generate(PROMPTS, Sampling(12, 1.0), seeds=3)
    engine = NativeEngine(backbone, Ending((0,)), guide=Guide(heads_for(backbone), 100.0))
    assert [r.ids for r in engine.generate(PROMPTS, Sampling(12, 1.0), seeds=3)] == [r.ids for r in alone]


def test_q_is_read_beneath_the_adapter_that_answers(fresh):
    backbone = fresh("llama")
    heads = opinionated(backbone)
    add_lora(backbone, "policy", rank=2, alpha=32)
    with torch.no_grad():
        for name, parameter in backbone.hf.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3)
    engine = NativeEngine(backbone, Ending((0,)), acting_as="policy", guide=Guide(heads, 2.0))
    for rollout in engine.generate(PROMPTS, Sampling(8, 1.0), seeds=3):
        with acting_as(backbone, "policy"):
            _, leaning = plain(backbone, heads, rollout, 2.0)
        expected = at(leaning, rollout)
        torch.testing.assert_close(rollout.sampling_log_probs, expected, atol=1e-4, rtol=0)


def test_leaning_without_q_is_refused(tiny):
    engine = NativeEngine(tiny("llama"), Ending((0,)))
    with pytest.raises(UsageError, match="has no Q heads"):
        engine.generate(PROMPTS, Sampling(4, 1.0, q_beta=1.0), seeds=1)
    with pytest.raises(UsageError, match="q_beta"):
        Sampling(4, 1.0, q_beta=-1.0)
