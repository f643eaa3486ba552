"""Opening folders and hub ids, and what is said when that fails."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from bert import write_bert
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from steersman.errors import MissingLibrary, ModelError
from steersman.models.files import save_model
from steersman.models.loading import disable_dropout, fit_vocabulary, how_to_convert, load_causal, quantisation
from steersman.models.tiny import tiny_config, tiny_tokeniser, write_tiny_model
from steersman.text.tokeniser import give_pad, load_tokeniser


def opened(path, **options):
    return load_causal(path, dtype=torch.float32, device="cpu", **options)


def test_a_saved_model_opens_in_plain_transformers_with_the_same_logits(load, family, tmp_path):
    backbone = load(family)
    tokeniser = tiny_tokeniser()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.01
        ids = torch.randint(6, 300, (2, 12))
        expected = backbone.hf(input_ids=ids).logits
        save_model(backbone, tokeniser, tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
        assert again(input_ids=ids).logits.equal(expected)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors", ".jinja"}
    assert load_tokeniser(tmp_path).chat_template == tokeniser.chat_template
    config = json.loads((tmp_path / "config.json").read_text())
    assert {key: config[key] for key in backbone.original_dropout if key in config} == {
        key: value for key, value in backbone.original_dropout.items() if key in config
    }, "dropout is the model's own again"
    assert all(getattr(backbone.config, key, 0) == 0 for key in backbone.original_dropout), "and off here"


def test_weights_are_loaded_in_the_type_asked_for(folder_of):
    backbone = load_causal(folder_of("llama"), dtype=torch.bfloat16, device="cpu", attention="eager")
    assert backbone.dtype == torch.bfloat16
    assert backbone.readout is not None
    assert backbone.packing == "positions"


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", Path("nowhere"), "a/b/c"])
def test_a_missing_folder_is_named(path):
    with pytest.raises(ModelError, match="there is no folder"):
        opened(path)


def test_a_hub_id_that_cannot_be_reached_is_said():
    with pytest.raises(ModelError, match="no model 'nobody/nothing' was found: there is no folder"):
        opened("nobody/nothing", revision="main")


def test_a_folder_that_is_no_model_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json \(seen: nothing\)"):
        opened(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"no config\.json \(seen: notes\.txt\)"):
        opened(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="is an adapter, not a whole model"):
        opened(tmp_path)


@pytest.fixture
def copy(folder_of, tmp_path):
    return Path(shutil.copytree(folder_of("llama"), tmp_path / "copy"))


def test_missing_weights_are_said(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no model could be loaded"):
        opened(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"])
def test_weights_in_a_pickle_are_not_opened_and_how_to_convert_them_is_said(name, copy):
    torch.save(load_file(copy / "model.safetensors"), copy / name)
    assert opened(copy).vocabulary == 320, "beside safetensors it does not matter"
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"as a pickle \({name}\), which may run code .*convert it once: python -c"):
        opened(copy)


def test_the_command_that_converts_a_pickle_does(folder_of, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(folder_of("llama"), tmp_path / "pickled"))
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    command = how_to_convert(str(folder)).split('python -c "')[1].split('", and')[0]
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    converted = load_file(tmp_path / "converted" / "model.safetensors")
    assert all(weights[name].equal(converted[name]) for name in weights)
    assert opened(tmp_path / "converted").vocabulary == 320


def test_a_model_that_reads_both_ways_is_no_language_model(tmp_path):
    assert opened(write_bert(tmp_path / "decoder", is_decoder=True)).vocabulary == 320
    with pytest.raises(ModelError, match="is no causal language model: its logits for a token depend on later"):
        opened(write_bert(tmp_path / "encoder"))


def test_damaged_weights_are_said(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="no model could be loaded"):
        opened(copy)


def test_a_family_that_is_no_causal_model_is_said(copy):
    (copy / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelError, match="no model could be loaded"):
        opened(copy)


def test_a_classifier_is_not_taken_for_a_language_model(tmp_path):
    write_tiny_model(tmp_path, "llama", classes=("bad", "good"))
    with pytest.raises(ModelError, match=r"lacks 1 weights .*lm_head"):
        opened(tmp_path)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_new_tokens_get_rows_of_the_mean(load, family, tmp_path):
    backbone = load(family)
    tokeniser = tiny_tokeniser(pad=None)
    tokeniser.add_tokens(["<extra>"])
    assert give_pad(tokeniser)
    ids = torch.randint(6, 300, (1, 9))
    before = backbone.hf(input_ids=ids).logits
    assert fit_vocabulary(backbone, tokeniser) == (len(tokeniser) > 320)
    assert backbone.vocabulary == max(320, len(tokeniser))
    assert torch.allclose(backbone.hf(input_ids=ids).logits[..., :320], before, atol=1e-5)
    embedding = backbone.hf.get_input_embeddings().weight
    if len(tokeniser) > 320:
        assert torch.allclose(embedding[-1], embedding[:320].mean(0), atol=1e-6)
    assert backbone.config.pad_token_id == tokeniser.pad_token_id
    save_model(backbone, tokeniser, tmp_path)
    assert opened(tmp_path).vocabulary == backbone.vocabulary
    assert not fit_vocabulary(backbone, tokeniser)


def test_an_output_layer_with_bias_grows_too(load):
    backbone = load("llama")
    head = torch.nn.Linear(32, 320)
    torch.nn.init.normal_(head.bias)
    backbone.hf.set_output_embeddings(head)
    tokeniser = tiny_tokeniser()
    tokeniser.add_tokens(["<extra>"])
    assert fit_vocabulary(backbone, tokeniser)
    grown = backbone.hf.get_output_embeddings()
    assert grown.bias[-1] == grown.bias[:320].min()


def test_dropout_of_every_kind_is_silenced():
    config = tiny_config("gpt2", hidden=16, layers=1, vocabulary=50, context=16, dropout=0.2)
    original_dropout = disable_dropout(config)
    assert original_dropout == {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2, "summary_first_dropout": 0.1}
    assert config.resid_pdrop == 0
    assert disable_dropout(config) == {}


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
@pytest.mark.parametrize("quantise", ["4bit", "8bit"])
def test_quantising_without_bitsandbytes_says_what_to_install(folder_of, quantise):
    with pytest.raises(MissingLibrary, match=r"steersman\[qlora\]"):
        opened(folder_of("llama"), quantise=quantise)


def test_quantisation_is_that_of_qlora(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    four = quantisation("4bit", torch.bfloat16)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert quantisation("8bit", torch.bfloat16).load_in_8bit


def test_an_unknown_tiny_family_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no tiny model of the family 'banana'"):
        write_tiny_model(tmp_path, "banana")
