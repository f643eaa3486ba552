"""The engine answers with the weights the model has now: after an update, and through an adapter merged while
decoding."""

import pytest
import torch

from steersman.errors import ModelError
from steersman.models.acting import acting_as
from steersman.models.adapters import add_lora
from steersman.models.loading import load_causal
from steersman.rollout import choose
from steersman.rollout.engine import Sampling
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.products import _Packed, packing_is_exact, width_for
from steersman.rollout.request import Ending

PROMPTS = [[5, 6, 7, 8], [20, 21], [30] * 11]


def assert_answers_by(backbone, rollouts, plain_log_probs):
    for rollout in rollouts:
        torch.testing.assert_close(rollout.log_probs, plain_log_probs(backbone, rollout), atol=1e-4, rtol=0)


def disturb(module, names=""):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if names in name:
                parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_new_weights_answer_after_a_refresh(family, fresh, plain_log_probs):
    backbone = fresh(family)
    engine = NativeEngine(backbone, Ending((0,)))
    before = engine.generate(PROMPTS, Sampling(8, 1.0), seeds=1)
    disturb(backbone.hf)
    engine.refresh(1)
    after = engine.generate(PROMPTS, Sampling(8, 1.0), seeds=1)
    assert_answers_by(backbone, after, plain_log_probs)
    assert [r.version for r in [*before, *after]] == [0] * 3 + [1] * 3
    assert any(a.ids != b.ids for a, b in zip(before, after, strict=True))


def test_an_update_that_nobody_announced_is_noticed(fresh, plain_log_probs):
    backbone = fresh("llama")
    engine = NativeEngine(backbone, Ending((0,)))
    engine.generate(PROMPTS, Sampling(4, 1.0), seeds=1)
    optimiser = torch.optim.AdamW(backbone.hf.parameters(), lr=0.05)
    backbone.hf(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimiser.step()
    assert_answers_by(backbone, engine.generate(PROMPTS, Sampling(4, 1.0), seeds=1), plain_log_probs)


def test_memory_can_be_released_in_between(fresh):
    engine = NativeEngine(fresh("llama"), Ending((0,)))
    before = engine.generate(PROMPTS, Sampling(4, 1.0), seeds=1)
    engine.release()
    assert engine.generate(PROMPTS, Sampling(4, 1.0), seeds=1) == before


def test_weights_from_elsewhere_are_taken_or_refused(fresh, plain_log_probs):
    backbone, other = fresh("llama"), fresh("llama", seed=3)
    engine = NativeEngine(backbone, Ending((0,)))
    engine.load_weights(other.hf.state_dict(), 9)
    rollouts = engine.generate(PROMPTS, Sampling(6, 1.0), seeds=1)
    assert engine.version == rollouts[0].version == 9
    assert_answers_by(other, rollouts, plain_log_probs)
    with pytest.raises(ModelError, match="no such weight"):
        engine.load_weights({"model.nothing": torch.zeros(2)}, 10)
    with pytest.raises(ModelError, match="the shape"):
        engine.load_weights({"model.norm.weight": torch.zeros(2)}, 10)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "phi3", "gpt2"])
def test_a_merged_adapter_is_the_adapter(family, fresh, plain_log_probs):
    backbone = fresh(family)
    base = {name: parameter.clone() for name, parameter in backbone.hf.named_parameters()}
    add_lora(backbone, "policy", rank=4, alpha=16)
    engine = NativeEngine(backbone, Ending((0,)), acting_as="policy")
    engine.generate(PROMPTS, Sampling(6, 1.0), seeds=1)
    disturb(backbone.hf, "lora_")
    engine.refresh(1)
    with acting_as(backbone, None):
        rollouts = engine.generate(PROMPTS, Sampling(6, 1.0), samples=2, seeds=1)
    assert engine.path == ("cached" if family == "gpt2" else "fused")
    with acting_as(backbone, "policy"):
        assert_answers_by(backbone, rollouts, plain_log_probs)
    engine.acting_as = None
    engine.refresh(2)
    bare = engine.generate(PROMPTS, Sampling(6, 1.0), samples=2, seeds=1)
    with acting_as(backbone, None):
        assert_answers_by(backbone, bare, plain_log_probs)
    assert any(not torch.equal(a.log_probs, b.log_probs) for a, b in zip(rollouts, bare, strict=True))
    for name, parameter in backbone.hf.named_parameters():
        if "lora_" not in name:
            assert parameter.equal(base[name.replace(".base_layer", "")])


def test_a_fused_copy_that_went_wrong_is_not_used(fresh, plain_log_probs, monkeypatch):
    """The merge leaves the adapter out: it does not show while the adapter changes nothing, but then it must."""
    from steersman.rollout import layout

    backbone = fresh("llama")
    add_lora(backbone, "policy", rank=4, alpha=16)
    right = layout.merged
    monkeypatch.setattr(layout, "merged", lambda linear, adapter: right(linear, None))
    engine = NativeEngine(backbone, Ending((0,)), acting_as="policy")
    assert engine.path == "fused"
    disturb(backbone.hf, "lora_")
    engine.refresh(1)
    rollouts = engine.generate(PROMPTS, Sampling(6, 1.0), seeds=1)
    assert engine.path == "cached"
    assert "not the model's" in engine.why_slower
    with acting_as(backbone, "policy"):
        assert_answers_by(backbone, rollouts, plain_log_probs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_act": "relu"}, "activation"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "change with the length"),
    ],
)
def test_what_the_fused_step_cannot_do_is_said_and_done_otherwise(change, reason, plain_log_probs):
    from transformers import LlamaConfig, LlamaForCausalLM

    from steersman.models.backbone import Backbone, Readout

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        **change,
    )
    backbone = Backbone(LlamaForCausalLM(config).eval(), name="odd", readout=Readout(None, 1.0), packing=None)
    engine = NativeEngine(backbone, Ending((0,)))
    assert engine.path == "cached"
    assert reason in engine.why_slower
    assert_answers_by(backbone, engine.generate(PROMPTS, Sampling(6, 1.0), seeds=1), plain_log_probs)


def test_half_precision_answers_nearly_the_same(fresh, tmp_path):
    backbone = fresh("llama")
    backbone.hf.save_pretrained(tmp_path)
    half = load_causal(tmp_path, dtype=torch.bfloat16, device="cpu")
    engine = NativeEngine(half, Ending((0,)))
    assert engine.path == "fused"
    for rollout in engine.generate(PROMPTS, Sampling(6, 1.0), seeds=1):
        ids = torch.tensor([rollout.prompt_ids + rollout.ids])
        with torch.no_grad():
            logits = half.hf(input_ids=ids).logits[0].float().log_softmax(-1)
        expected = logits[len(rollout.prompt_ids) - 1 : -1].gather(1, torch.tensor(rollout.ids)[:, None]).squeeze(1)
        torch.testing.assert_close(rollout.log_probs, expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("family", ["qwen2", "llama-bias", "llama-untied", "llama3-rope"])
def test_variants_of_llama_are_fused_too(family, plain_log_probs):
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    from steersman.models.backbone import Backbone, Readout

    sizes = {"vocab_size": 90, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64}
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 1e4}
    rope["original_max_position_embeddings"] = 32
    model = {
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**sizes)),
        "llama-bias": lambda: LlamaForCausalLM(LlamaConfig(**sizes, attention_bias=True)),
        "llama-untied": lambda: LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False)),
        "llama3-rope": lambda: LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=rope, tie_word_embeddings=True)),
    }[family]()
    disturb(model)
    disturb(model)
    backbone = Backbone(model.eval(), name=family, readout=Readout(None, 1.0), packing=None)
    engine = NativeEngine(backbone, Ending((0,)), options=DecodingOptions(path="fused"))
    rollouts = engine.generate(PROMPTS, Sampling(30, 1.0), samples=2, seeds=1)
    assert_answers_by(backbone, rollouts, plain_log_probs)


def test_packed_products_are_true_float32():
    if not packing_is_exact():
        pytest.skip("torch has no packed products here")
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(96, 80, generator=generator), torch.randn(96, generator=generator)
    for rows in (1, 3, 64, 200):
        x = torch.randn(rows, 80, generator=generator)
        expected = (x.double() @ weight.double().T + bias.double()).float()
        torch.testing.assert_close(_Packed(weight, bias)(x), expected, atol=2e-5, rtol=1e-5)


def test_widths_are_few_and_never_too_narrow():
    widths = [width_for(rows) for rows in range(1, 400)]
    assert all(width >= rows for rows, width in enumerate(widths, start=1))
    assert len(set(widths)) < 30
    assert widths == sorted(widths)


def test_paths_go_from_fast_to_sure():
    assert list(choose.PATHS) == ["graphed", "fused", "cached", "whole"]
