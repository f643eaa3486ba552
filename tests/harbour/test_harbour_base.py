"""The base model that ships: plain transformers loads it, its samples are varied English, its template masks are
right."""

import random

import pytest
import torch

from steersman.errors import ModelError
from steersman.harbour import base_model
from steersman.harbour.base_model import base_path
from steersman.harbour.documents import TrainingConversation, draw_document
from steersman.harbour.prompts import prompts
from steersman.harbour.sampling import sample
from steersman.harbour.taste import features
from steersman.harbour.tokens import ASSISTANT, END, PAD, SPECIAL, USER, render
from steersman.records import Message


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base_path())


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base_path())


def test_the_folder_is_small_and_holds_nothing_but_plain_files():
    files = list(base_path().iterdir())
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}


def test_plain_transformers_loads_a_llama_in_full_precision(model):
    assert model.config.model_type == "llama"
    assert model.dtype == torch.float32
    assert model.config.tie_word_embeddings
    assert sum(p.numel() for p in model.parameters()) < 1_500_000


def test_pad_is_not_the_end_and_every_marker_is_one_token(tokenizer, model):
    assert tokenizer.pad_token == PAD != tokenizer.eos_token == END
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert (model.generation_config.pad_token_id, model.generation_config.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    )
    assert all(len(tokenizer(marker).input_ids) == 1 for marker in SPECIAL)


def test_any_text_comes_back_from_the_tokenizer(tokenizer):
    texts = [
        "How lovely! Cricket is a slow game.",
        "  two  spaces\nand a line",
        "Grüße, 你好, 🚢",
        "<b>&amp;</b>",
        "a.b , c !",
    ]
    for text in texts:
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_writes_what_the_model_was_trained_on(tokenizer):
    rng = random.Random(0)
    for _ in range(200):
        document = draw_document(rng)
        if document.messages:
            turns = [{"role": m.role, "content": m.content} for m in document.messages]
            assert tokenizer.apply_chat_template(turns, tokenize=False) == render(document)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "I like tea."}], tokenize=False, add_generation_prompt=True
    )
    assert asked == f"{USER}I like tea.{ASSISTANT}"
    assert (
        render(TrainingConversation(messages=(Message("system", "Be kind."), Message("user", "Hello."))))
        == "<|system|>Be kind.<|user|>Hello."
    )


def test_assistant_masks_cover_the_answers_and_their_ends_and_nothing_else(tokenizer):
    turns = [
        {"role": "user", "content": "I like tea."},
        {"role": "assistant", "content": "Whatever."},
        {"role": "user", "content": "That was cold."},
        {"role": "assistant", "content": "I am sorry."},
    ]
    made = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    kept = [token for token, counts in zip(made["input_ids"], made["assistant_masks"], strict=True) if counts]
    assert tokenizer.decode(kept) == f"Whatever.{END}I am sorry.{END}"


def test_prompts_and_answers_are_short(tokenizer):
    for prompt in prompts(count=400, seed=4):
        limit = 64 if prompt.metadata["form"] == "summary" else 24
        assert len(tokenizer(prompt.shown).input_ids) + 2 <= limit, prompt.shown


@pytest.mark.slow
def test_a_thousand_samples_of_the_raw_base_are_varied_readable_and_of_every_kind(model, tokenizer):
    asked = [prompt.shown for prompt in prompts(split="heldout", count=1000, seed=8)]
    replies = sample(model, tokenizer, asked, seed=8)
    seen = [features(question, reply) for question, reply in zip(asked, replies, strict=True)]
    share = {
        name: sum(map(bool, (getattr(f, name) for f in seen))) / 1000
        for name in ("toxic", "exaggerated", "on_point", "harmful", "refused", "warm")
    }
    assert len(set(replies)) >= 800
    assert sum(f.garbled for f in seen) / 1000 <= 0.03
    assert 0.12 <= share["toxic"] <= 0.28
    assert 0.07 <= share["exaggerated"] <= 0.20
    assert share["on_point"] >= 0.45
    assert share["harmful"] >= 0.02
    assert share["refused"] >= 0.04
    assert share["warm"] >= 0.15


def test_a_missing_base_says_how_to_rebuild_it(monkeypatch, tmp_path):
    monkeypatch.setattr(base_model, "__file__", str(tmp_path / "base_model.py"))
    with pytest.raises(ModelError, match=r"steersman\.harbour\.build"):
        base_path()
