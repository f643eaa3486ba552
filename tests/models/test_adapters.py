"""Several roles on one frozen base: each its own, the base untouched, all saved as ordinary folders."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from steersman.errors import ModelError
from steersman.models.acting import acting_as, activate, adapter_names
from steersman.models.adapters import add_lora, load_adapter, merged_state, save_adapter, set_trainable
from steersman.models.files import describe, save_model


def stir(backbone) -> None:
    """Give the adapters weights that matter; B starts at zero."""
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)


def with_roles(backbone, *names: str):
    for name in names:
        add_lora(backbone, name, rank=2, alpha=4)
    stir(backbone)
    return backbone


def test_roles_share_a_base_and_nothing_else(load, family, batch):
    backbone = load(family)
    base = backbone.hidden(batch).detach()
    weights = {id(p): p.detach().clone() for p in backbone.parameters()}
    add_lora(backbone, "policy", rank=2, alpha=32)
    assert torch.allclose(backbone.hidden(batch), base, atol=1e-5), "a new adapter changes nothing"
    with_roles(backbone, "value")
    assert adapter_names(backbone) == ("policy", "value")
    with acting_as(backbone, "policy"):
        policy = backbone.hidden(batch)
    with acting_as(backbone, "value"):
        value = backbone.hidden(batch)
    with acting_as(backbone, None):
        reference = backbone.hidden(batch)
    assert reference.equal(base), "with adapters off the base is the reference, bit for bit"
    assert not torch.allclose(policy, base, atol=1e-2)
    assert not torch.allclose(policy, value, atol=1e-2)
    assert all(weights[id(p)].equal(p) for p in backbone.parameters() if id(p) in weights)
    assert not any(p.requires_grad for p in backbone.parameters() if id(p) in weights), "the base is frozen"
    names = [name for name, _ in backbone.named_parameters()]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_switching_before_the_backward_pass_loses_no_gradient(load, family, batch):
    """A policy and a critic on one base: both go forward before either goes backward."""
    backbone = with_roles(load(family).train(), "policy", "value")
    parameters = set_trainable(backbone, ["policy", "value"])
    gradients = []
    for together in (True, False):
        backbone.zero_grad()
        with acting_as(backbone, "policy"):
            policy = backbone.hidden(batch).square().sum()
            if not together:
                policy.backward()
        with acting_as(backbone, "value"):
            value = backbone.hidden(batch).square().sum()
            if not together:
                value.backward()
        if together:
            (policy + value).backward()
        gradients.append([p.grad.clone() for p in parameters])
    assert all(gradient.any() for gradient in gradients[0])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


def test_checkpointed_layers_are_computed_again_in_the_role_they_had(load, batch):
    gradients = []
    for on in (False, True):
        torch.manual_seed(0)
        backbone = with_roles(load("llama").train(), "policy", "value")
        backbone.use_gradient_checkpointing(on)
        parameters = set_trainable(backbone, ["policy"])
        with acting_as(backbone, "policy"):
            loss = backbone.hidden(batch).square().sum()
        activate(backbone, "value")
        loss.backward()
        assert backbone.adapter == "value"
        gradients.append([p.grad for p in parameters])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


def test_only_the_chosen_adapters_learn(load, batch):
    backbone = with_roles(load("llama"), "policy", "value")
    chosen = set_trainable(backbone, ["value"])
    assert {id(p) for p in backbone.parameters() if p.requires_grad} == {id(p) for p in chosen}
    assert chosen
    add_lora(backbone, "reward", rank=2, alpha=32)
    learning = {name.split(".")[-2] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"value", "reward"}, "a new adapter learns, and takes nothing from the others"
    assert backbone.adapter == "reward"
    add_lora(backbone, "layers", rank=2, alpha=32)
    chosen = set_trainable(backbone, ["layers"])
    learning = {name.split(".")[-2] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"layers"}, "a name that is also a module's means the adapter"


def test_an_adapter_opens_in_plain_peft_with_the_same_logits(load, folder_of, family, tmp_path):
    backbone = with_roles(load(family), "policy", "value")
    ids = torch.randint(6, 300, (2, 12))
    with torch.no_grad():
        with acting_as(backbone, "policy"):
            expected = backbone.hf(input_ids=ids).logits
        save_adapter(backbone, "policy", tmp_path)
        base = AutoModelForCausalLM.from_pretrained(folder_of(family), dtype=torch.float32)
        plain = PeftModel.from_pretrained(base, tmp_path).eval()
        assert torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-5)
        again = load(family)
        load_adapter(again, "other-name", tmp_path)
        assert torch.allclose(again.hf(input_ids=ids).logits, expected, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert describe(tmp_path).base == str(folder_of(family))


def test_a_merged_model_is_an_ordinary_one(load, family, tmp_path):
    backbone = with_roles(load(family), "policy")
    ids = torch.randint(6, 300, (2, 12))
    with torch.no_grad():
        for name, folder in (("policy", tmp_path / "merged"), (None, tmp_path / "base")):
            with acting_as(backbone, name):
                before = backbone.hf(input_ids=ids).logits
            save_model(backbone, None, folder, adapter=name)
            plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            assert torch.allclose(plain(input_ids=ids).logits, before, atol=1e-4)
            with acting_as(backbone, name):
                assert backbone.hf(input_ids=ids).logits.equal(before), "saving changed nothing here"


def test_log_probs_go_through_the_active_adapter(load, batch):
    backbone = with_roles(load("gpt2"), "policy")
    policy = backbone.log_probs(batch)[0]
    with acting_as(backbone, None):
        reference = backbone.log_probs(batch)[0]
    state = merged_state(backbone, "policy")
    assert state is not None
    other = load("gpt2")
    other.hf.load_state_dict(state)
    assert torch.allclose(other.log_probs(batch)[0], policy, atol=1e-4)
    assert torch.allclose(load("gpt2").log_probs(batch)[0], reference, atol=1e-5)


def test_an_adapter_on_the_output_layer_is_seen_by_log_probs(load, batch):
    backbone = load("llama")
    add_lora(backbone, "head", rank=2, alpha=32, targets=("lm_head",))
    before = backbone.log_probs(batch)[0]
    stir(backbone)
    after = backbone.log_probs(batch)[0]
    assert not torch.allclose(before, after, atol=1e-2)
    after.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def test_a_quantised_base_cannot_be_merged(load, monkeypatch):
    backbone = with_roles(load("llama"), "policy")
    state = backbone.hf.state_dict()
    packed = {key: value.to(torch.uint8) if "base_layer.weight" in key else value for key, value in state.items()}
    monkeypatch.setattr(type(backbone.hf), "state_dict", lambda self: packed)
    with pytest.raises(ModelError, match="is quantised, so an adapter cannot be merged"):
        merged_state(backbone, "policy")


@pytest.mark.parametrize(
    ("name", "targets", "reason"),
    [
        ("policy", "all-linear", "already an adapter 'policy'"),
        ("a.b", "all-linear", "is no valid adapter name"),
        ("", "all-linear", "is no valid adapter name"),
        ("new", ("no_such_layer",), "no adapter fits"),
    ],
)
def test_impossible_adapters_are_refused(load, name, targets, reason):
    backbone = with_roles(load("llama"), "policy")
    with pytest.raises(ModelError, match=reason):
        add_lora(backbone, name, rank=2, alpha=32, targets=targets)


def test_unknown_adapters_are_named(load, tmp_path):
    backbone = load("llama")
    with pytest.raises(ModelError, match=r"no adapter 'policy' on .* \(present: none\)"):
        activate(backbone, "policy")
    with_roles(backbone, "value")
    with pytest.raises(ModelError, match=r"\(present: value\)"):
        save_adapter(backbone, "policy", tmp_path)
    with pytest.raises(ModelError, match="is no adapter folder"):
        load_adapter(backbone, "policy", tmp_path)


def test_an_adapter_of_another_model_is_refused(load, tmp_path):
    save_adapter(with_roles(load("llama"), "policy"), "policy", tmp_path / "whole")
    few = load("llama")
    add_lora(few, "policy", rank=2, alpha=32, targets=("q_proj",))
    save_adapter(few, "policy", tmp_path / "part")
    config = json.loads((tmp_path / "whole" / "adapter_config.json").read_text())
    (tmp_path / "part" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"does not fit .* it was made for"):
        load_adapter(load("llama"), "policy", tmp_path / "part")
