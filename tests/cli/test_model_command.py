"""`steersman model new`: the size that was asked for, a folder that plain transformers opens, nothing overwritten."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from steersman.cli.main import app
from steersman.errors import DataError, UsageError
from steersman.models.fresh import FRESH_FAMILIES, choose_size, parse_count, train_tokeniser


def new(*words: str):
    result = CliRunner().invoke(app, ["model", "new", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"What is {n} and the weather?", "completion": f"It is number {n}, and sunny."} for n in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_new_model_opens_in_plain_transformers(family, rows, tmp_path):
    out = tmp_path / "models" / "mine"
    words = ["--like", family, "--parameters", "300k", "--tokeniser-from", str(rows), "--out", str(out)]
    made = json.loads(new(*words, "--vocabulary", "400", "--context", "64", "--json").stdout)
    assert abs(made["parameters"] / 300_000 - 1) < 0.2
    model, tokeniser = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert sum(one.numel() for one in model.parameters()) == made["parameters"]
    assert (model.config.model_type, len(tokeniser)) == (family, made["vocabulary"])
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokeniser.eos_token_id, tokeniser.pad_token_id)
    assert tokeniser.eos_token_id != tokeniser.pad_token_id
    asked = tokeniser.apply_chat_template([{"role": "user", "content": "Hi 12"}], add_generation_prompt=True)
    ids = torch.tensor([asked["input_ids"] if hasattr(asked, "keys") else asked])
    assert torch.isfinite(model(input_ids=ids).logits).all()
    text = "It is number 7, and the weather is sunny. ¿Qué? 你好"
    assert tokeniser.decode(tokeniser(text)["input_ids"]) == text
    assert len(tokeniser("the weather")["input_ids"]) < len("the weather") / 2
    again = tmp_path / "again"
    new(*words[:-1], str(again), "--vocabulary", "400", "--context", "64")
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(UsageError, match="is there already, and nothing is overwritten"):
        new(*words)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_every_family_comes_near_to_its_size():
    tokeniser = train_tokeniser(["some words of a text"] * 4, 300)
    for family in FRESH_FAMILIES:
        size = choose_size(family, 2_000_000, tokeniser, context=64, tied=True)
        assert abs(size.parameters / 2_000_000 - 1) < 0.15, family
        assert 10 < size.hidden / size.layers < 150, (family, size)


@pytest.mark.parametrize(("text", "count"), [("10M", 10**7), ("1.5b", 15 * 10**8), ("300K", 300_000), ("5000", 5000)])
def test_sizes_are_read(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "ten", "0", "-1M", "1e400", "nan", "3T"])
def test_sizes_that_cannot_be_meant_are_told(text):
    with pytest.raises(UsageError, match="expected 1k to 100B"):
        parse_count(text)


def test_a_tokeniser_of_a_model_is_taken_and_bad_input_is_told(rows, tmp_path):
    new("--parameters", "300k", "--vocabulary", "400", "--tokeniser-from", str(rows), "--out", str(tmp_path / "a"))
    said = new("--parameters", "400k", "--tokeniser-from", str(tmp_path / "a"), "--out", str(tmp_path / "b")).output
    assert "taken from the model" in said
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "b").get_vocab()
        == AutoTokenizer.from_pretrained(tmp_path / "a").get_vocab()
    )
    out = ["--out", str(tmp_path / "c"), "--tokeniser-from", str(rows)]
    with pytest.raises(UsageError, match="no new model of the family 'lama'; expected one of llama"):
        new("--like", "lama", *out)
    with pytest.raises(UsageError, match=r"the smallest llama with .* were asked for"):
        new("--parameters", "2k", *out)
    with pytest.raises(UsageError, match="at least 300 tokens"):
        new("--vocabulary", "100", *out)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="no texts"):
        new("--out", str(tmp_path / "c"), "--tokeniser-from", str(empty))
    assert not (tmp_path / "c").exists()
