"""An exported model opens in plain transformers and says what its source says; nothing is overwritten, and no path of
this machine is left."""

import json

import pytest
import torch
from safetensors import safe_open

from steersman.assemble.export import ExportOptions, run_export
from steersman.errors import ModelError, UsageError
from steersman.export.compare import PAIRS, plain_log_probs, probe_ids
from steersman.export.private import without_paths
from steersman.models.adapters import add_lora, save_adapter
from steersman.models.heads import RewardHead
from steersman.models.loading import load_causal
from steersman.models.reward_model import RewardModel, Scale, save_reward_model, trunk_of
from steersman.models.tiny import write_tiny_model
from steersman.records import Prompt
from steersman.reward.model import open_reward_scorer
from steersman.reward.rows import encode_item
from steersman.text.tokeniser import load_tokeniser

ITEMS = [(Prompt(text=prompt), answer) for prompt, answer in PAIRS]


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "source", "llama")


def loaded(folder):
    return load_causal(folder, dtype=torch.float32, device="cpu")


def test_a_model_keeps_its_log_probs_template_and_ends(model, tmp_path):
    from transformers import AutoModelForCausalLM

    done = run_export(str(model), tmp_path / "out", ExportOptions(licence="apache-2.0"))
    assert (done.kind, done.notes) == ("language", ())
    assert done.difference.count > 50
    assert done.difference.largest < 1e-4
    tokeniser = load_tokeniser(done.folder)
    assert tokeniser.chat_template == load_tokeniser(model).chat_template
    rows = probe_ids(tokeniser, 256)
    source = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    again = AutoModelForCausalLM.from_pretrained(done.folder, dtype=torch.float32).eval()
    torch.testing.assert_close(plain_log_probs(again, rows), plain_log_probs(source, rows), atol=1e-6, rtol=0)
    assert again.generation_config.eos_token_id == source.generation_config.eos_token_id
    names = {file.name for file in done.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    card = (done.folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert str(tmp_path) not in card + (done.folder / "config.json").read_text()


def test_another_dtype_is_stored_once_and_said(model, tmp_path):
    done = run_export(str(model), tmp_path / "half", ExportOptions(dtype="bfloat16"))
    assert json.loads((done.folder / "config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(done.folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert 0 < done.difference.largest < 0.5
    # auto keeps what is stored
    again = run_export(str(done.folder), tmp_path / "again", ExportOptions())
    assert json.loads((again.folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert again.difference.largest < 1e-4


def test_an_adapter_is_merged_or_stays_apart(model, tmp_path):
    backbone = loaded(model)
    add_lora(backbone, "policy", rank=4, alpha=8)
    with torch.no_grad():
        for name, parameter in backbone.hf.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    save_adapter(backbone, "policy", tmp_path / "adapter")
    load_tokeniser(model).save_pretrained(tmp_path / "adapter")
    merged = run_export(str(tmp_path / "adapter"), tmp_path / "merged", ExportOptions())
    assert merged.notes == ("the adapter is merged into the weights",)
    assert merged.difference.largest < 1e-3
    with pytest.raises(UsageError, match="--base ORG/NAME"):
        run_export(str(tmp_path / "adapter"), tmp_path / "apart", ExportOptions(adapter="apart"))
    assert not (tmp_path / "apart").exists()
    apart = run_export(str(tmp_path / "adapter"), tmp_path / "apart", ExportOptions(adapter="apart", base="org/base"))
    config = (apart.folder / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "org/base"
    assert str(tmp_path) not in config
    assert apart.difference.largest < 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_reward_model_gives_the_same_scores(family, tmp_path):
    from transformers import AutoModelForSequenceClassification

    folder = write_tiny_model(tmp_path / family, family)
    torch.manual_seed(1)
    trunk = trunk_of(loaded(folder))
    made = RewardModel(trunk, RewardHead(trunk.hidden_size, heads=1), adapter=None, scale=Scale(0.7, 2.5))
    save_reward_model(made, load_tokeniser(folder), tmp_path / "reward")
    source = open_reward_scorer(tmp_path / "reward")
    expected = [one.value for one in source.score(ITEMS)]
    done = run_export(str(tmp_path / "reward"), tmp_path / "out", ExportOptions())
    assert (done.kind, done.difference.count) == ("reward", len(ITEMS))
    hf = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    tokeniser = load_tokeniser(tmp_path / "out")
    ids = [encode_item(tokeniser, item, reads="conversation", limit=256)[0].ids[None] for item in ITEMS]
    with torch.no_grad():
        plain = [float(hf(input_ids=one).logits[0, 0]) for one in ids]
    # gpt2's last norm has a bias, which holds the mean; llama's has none
    constant = 0.0 if family == "gpt2" else 0.7 / 2.5
    assert bool(done.notes) == (family == "llama")
    assert [one - constant for one in plain] == pytest.approx(expected, abs=1e-4)
    again = open_reward_scorer(tmp_path / "out")
    assert [one.value for one in again.score(ITEMS)] == pytest.approx(expected, abs=1e-4)


def test_ensembles_quantised_runs_and_old_folders_are_refused(model, tmp_path):
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "ensemble.json").write_text('{"members": ["a"]}')
    with pytest.raises(ModelError, match="is an ensemble"):
        run_export(str(tmp_path / "several"), tmp_path / "out", ExportOptions())
    trunk = trunk_of(loaded(model))
    made = RewardModel(trunk, RewardHead(trunk.hidden_size, heads=3), adapter=None, scale=Scale())
    save_reward_model(made, load_tokeniser(model), tmp_path / "heads")
    with pytest.raises(ModelError, match="has 3 heads"):
        run_export(str(tmp_path / "heads"), tmp_path / "out", ExportOptions())
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("x")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        run_export(str(model), tmp_path / "there", ExportOptions())
    assert [one.name for one in (tmp_path / "there").iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="--dtype int8 is unknown"):
        run_export(str(model), tmp_path / "out", ExportOptions(dtype="int8"))
    with pytest.raises(UsageError, match="no adapter"):
        run_export(str(model), tmp_path / "out", ExportOptions(adapter="apart"))
    assert [one.name for one in tmp_path.iterdir() if "partial" in one.name] == []


def test_an_adapter_of_a_quantised_base_is_not_merged(tmp_path):
    from steersman.export.language import refuse_quantised

    (tmp_path / "recipe.toml").write_text('[model]\npath = "org/base"\nquantise = "4bit"\n')
    (tmp_path / "stamp.json").write_text("{}")
    with pytest.raises(ModelError, match="quantised to 4bit"):
        refuse_quantised(str(tmp_path))


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_gguf_file_gives_the_same_log_probs_and_ids(family, tmp_path):
    from transformers import AutoTokenizer

    folder = write_tiny_model(tmp_path / family, family)
    done = run_export(str(folder), tmp_path / "out", ExportOptions(gguf=True))
    assert "log-probs of the GGUF file compared; the largest difference is" in done.notes[0]
    assert float(done.notes[0].rpartition(" ")[2]) < 1e-4
    modelfile = (tmp_path / "out" / "Modelfile").read_text()
    assert modelfile.startswith("FROM ./model.gguf\n")
    ours = load_tokeniser(folder)
    read = AutoTokenizer.from_pretrained(str(tmp_path / "out"), gguf_file="model.gguf")
    for prompt, answer in PAIRS:
        assert read(prompt + answer, add_special_tokens=False).input_ids == ours(prompt + answer).input_ids


def test_gguf_is_for_llama_like_models(tmp_path):
    folder = write_tiny_model(tmp_path / "opt", "opt")
    with pytest.raises(ModelError, match="GGUF is written for the families llama"):
        run_export(str(folder), tmp_path / "out", ExportOptions(gguf=True))
    assert not (tmp_path / "out").exists()


def test_paths_are_cut_to_their_last_part():
    assert without_paths('path = "/home/me/runs/sft"') == 'path = "sft"'
    assert without_paths("../data/pairs.jsonl and ~/x/y") == "pairs.jsonl and y"
    assert without_paths("lr = 1e-05 of 3/4") == "lr = 1e-05 of 3/4"
