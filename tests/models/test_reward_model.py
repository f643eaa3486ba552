"""Reward models read the last real token, and saved ones open in plain transformers with the same scores."""

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from steersman.batches import TokenBatch, pack_rows, pad_rows
from steersman.errors import ModelError
from steersman.models import reward_model
from steersman.models.acting import acting_as
from steersman.models.adapters import add_lora
from steersman.models.backbone import Backbone
from steersman.models.files import HEADS, describe
from steersman.models.loading import fit_vocabulary
from steersman.models.reward_model import (
    Scale,
    load_reward_adapter,
    load_reward_model,
    new_reward_model,
    save_reward_model,
)
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.text.tokeniser import give_pad


def opened(path):
    return load_reward_model(path, dtype=torch.float32, device="cpu")


def test_a_saved_reward_model_opens_in_plain_transformers_with_the_same_scores(load, family, batch, tmp_path):
    model = new_reward_model(load(family))
    model.scale = Scale(0.5, 2.0, "helpful")
    tokeniser = tiny_tokeniser()
    save_reward_model(model, tokeniser, tmp_path)
    with torch.no_grad():
        expected = model.scores(batch)
        assert expected.std() > 0
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
        found = plain(input_ids=batch.ids, attention_mask=batch.attention_mask.long()).logits[:, 0]
        assert torch.allclose(found, expected, atol=1e-5)
        again = opened(tmp_path)
        assert torch.allclose(again.scores(batch), expected, atol=1e-6)
    assert again.scale == model.scale
    assert again.normalised(torch.tensor([2.5])).tolist() == [1.0]
    folder = describe(tmp_path)
    assert (folder.kind, folder.classes, folder.notes["mean"]) == ("reward", ("helpful",), 0.5)
    assert not (tmp_path / HEADS).exists()


def test_plain_transformers_has_the_scale_too_and_keeps_it(load, batch, tmp_path):
    """(logit - score_mean) / score_std is Steersman's score, also of a model that plain transformers has saved."""
    model = new_reward_model(load("llama"))
    model.scale = Scale(0.5, 2.0, "helpful")
    save_reward_model(model, tiny_tokeniser(), tmp_path / "ours")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    with torch.no_grad():
        raw = plain(input_ids=batch.ids, attention_mask=batch.attention_mask.long()).logits[:, 0]
        scores = model.normalised(model.scores(batch))
    assert torch.allclose((raw - plain.config.score_mean) / plain.config.score_std, scores, atol=1e-5)
    plain.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "steersman.json").exists()
    assert opened(tmp_path / "theirs").scale == model.scale


@pytest.mark.parametrize("pad", [None, "<|end|>"])
def test_a_pad_of_its_own_keeps_the_scores_of_answers_that_end_in_eos(load, pad, tmp_path):
    """With PAD = EOS transformers would read the score one token early."""
    backbone, tokeniser = load("gpt2"), tiny_tokeniser(pad=pad)
    give_pad(tokeniser)
    fit_vocabulary(backbone, tokeniser)
    model = new_reward_model(backbone)
    ids = [[7, 8, 9, tokeniser.eos_token_id], [7, 8, tokeniser.eos_token_id, tokeniser.pad_token_id]]
    batch = TokenBatch(torch.tensor(ids), torch.zeros(2, 4, dtype=torch.bool), torch.tensor([4, 3]), None)
    save_reward_model(model, tokeniser, tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert torch.allclose(plain(input_ids=batch.ids).logits[:, 0], model(batch), atol=1e-5)


def test_padding_changes_no_score(load, rows):
    model = new_reward_model(load("mistral"))
    together = model.scores(pad_rows(rows, pad_id=1, pad_multiple=16))
    alone = torch.cat([model.scores(pad_rows([row], pad_id=1)) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_an_ensemble_has_a_score_for_each_head(load, batch, tmp_path):
    model = new_reward_model(load("qwen3"), heads=3)
    by_head = model.scores_by_head(batch)
    assert by_head.shape == (5, 3)
    assert torch.allclose(model.scores(batch), by_head.mean(1))
    save_reward_model(model, None, tmp_path)
    assert (tmp_path / HEADS).exists()
    assert describe(tmp_path).kind == "reward"
    assert torch.allclose(opened(tmp_path).scores_by_head(batch), by_head, atol=1e-6)


def test_a_family_without_a_classifier_class_has_a_format_of_ours(load, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(reward_model, "_as_sequence_classifier", lambda model: None)
    model = new_reward_model(load("gpt_neox"))
    save_reward_model(model, tiny_tokeniser(), tmp_path)
    assert (tmp_path / HEADS).exists()
    assert torch.allclose(opened(tmp_path).scores(batch), model.scores(batch), atol=1e-6)


def test_a_family_that_transformers_cannot_classify_is_noticed():
    config = transformers.CohereConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    backbone = Backbone(transformers.CohereForCausalLM(config), name="cohere", readout=None, packing=None)
    assert reward_model._as_sequence_classifier(new_reward_model(backbone)) is None


def test_trunk_and_head_learn(load, batch):
    model = new_reward_model(load("llama")).train()
    model.scores(batch).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not any("lm_head" in name for name, _ in model.named_parameters()), "the output layer is gone"


def test_an_adapter_on_a_shared_base_is_a_reward_model(load, batch, tmp_path):
    backbone = load("llama")
    base = backbone.hidden(batch)
    add_lora(backbone, "reward", rank=2, alpha=32)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model = new_reward_model(backbone, adapter="reward")
    assert [name for name, _ in model.named_parameters()] == ["head.weight"]
    expected = model.scores(batch)
    save_reward_model(model, tiny_tokeniser(), tmp_path)
    assert describe(tmp_path).kind == "adapter"

    other = load("llama")
    again = load_reward_adapter(other, "reward-0", tmp_path)
    assert torch.allclose(again.scores(batch), expected, atol=1e-6)
    with acting_as(other, None):
        assert other.hidden(batch).equal(base)


def test_packed_rows_have_no_score(load, rows):
    with pytest.raises(ModelError, match="this batch is packed"):
        new_reward_model(load("llama")).scores(pack_rows(rows, pad_id=1, capacity=40))


def test_a_classifier_is_not_taken_for_a_reward_model(tmp_path):
    write_tiny_model(tmp_path, "llama", classes=("bad", "good"))
    with pytest.raises(ModelError, match=r"with the classes bad, good; expected one label"):
        opened(tmp_path)


def test_a_published_reward_model_loads(tmp_path, batch):
    write_tiny_model(tmp_path, "qwen3", classes=("reward",))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = plain(input_ids=batch.ids).logits[:, 0]
    assert torch.allclose(opened(tmp_path).scores(batch), expected, atol=1e-5)
