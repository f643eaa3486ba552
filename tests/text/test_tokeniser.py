"""PAD of its own, ends of answers, and cuts that leave every letter whole."""

import json
from types import SimpleNamespace

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import ModelError
from steersman.models.tiny import END, tiny_tokeniser
from steersman.text.rendering import end_ids
from steersman.text.tokeniser import (
    cut,
    cut_left,
    decode,
    give_pad,
    load_tokeniser,
    never_drawn,
    special_strings,
    use_known_pad,
)

KOREAN = "안녕하세요 세계"
FAMILY = "👨‍👩‍👧‍👦 and 🇰🇷🇫🇷!"
COMBINED = "é ñ ก็ দ্ধি"
SCRIPTS = (KOREAN, FAMILY, COMBINED, "plain words", "العربية עברית", "日本語の文章", "𝒳𝓎 \ufffd x")


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_survives(plain, text: str):
    assert decode(plain, plain(text, add_special_tokens=False).input_ids) == text


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_cut_never_falls_inside_a_letter(plain, text: str):
    ids = plain(text, add_special_tokens=False).input_ids
    edges = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    for limit in range(len(ids) + 2):
        kept = cut(plain, ids, limit)
        assert len(kept) <= limit
        assert ids[: len(kept)] == kept
        assert text.startswith(decode(plain, kept))
        assert len(decode(plain, kept)) in edges
        end = cut_left(plain, ids, limit)
        assert len(end) <= limit
        assert ids[len(ids) - len(end) :] == end
        assert text.endswith(decode(plain, end))
        assert len(text) - len(decode(plain, end)) in edges


@given(st.text(max_size=12), st.integers(0, 40))
def test_a_cut_keeps_as_much_as_it_can(text: str, limit: int):
    tokeniser = tiny_tokeniser(chat=False)
    ids = tokeniser(text, add_special_tokens=False, split_special_tokens=True).input_ids
    kept = cut(tokeniser, ids, limit)
    longest = max((len(match.group().encode()) for match in regex.finditer(r"\X", text)), default=0)
    assert len(kept) >= min(len(ids), limit) - longest
    assert "\ufffd" not in decode(tokeniser, kept) or "\ufffd" in text


def test_a_letter_of_endless_marks_is_cut_at_the_limit(plain):
    ids = plain("e" + "\u0301" * 200, add_special_tokens=False).input_ids
    assert len(cut(plain, ids, 100)) == 100


@pytest.mark.parametrize("pad", [None, END])
def test_a_tokeniser_without_pad_gets_its_own(pad):
    tokeniser = tiny_tokeniser(pad=pad)
    before = len(tokeniser)
    assert give_pad(tokeniser)
    assert len(tokeniser) == before + 1
    assert tokeniser.pad_token == "<|pad|>"
    assert tokeniser.pad_token_id not in (tokeniser.eos_token_id, None)
    assert not give_pad(tokeniser), "a second time there is nothing left to do"


@pytest.mark.parametrize("pad", [None, END])
def test_a_language_model_is_not_given_a_token_for_padding(pad):
    tokeniser = tiny_tokeniser(pad=pad)
    before = len(tokeniser), tokeniser.pad_token_id
    assert "no token is added" in use_known_pad(tokeniser)
    assert (len(tokeniser), tokeniser.pad_token_id) == before
    assert never_drawn(tokeniser, ends=[tokeniser.eos_token_id]) == ()


def test_a_pad_of_its_own_stays_and_is_never_drawn():
    tokeniser = tiny_tokeniser()
    assert use_known_pad(tokeniser) == ""
    assert never_drawn(tokeniser, ends=[tokeniser.eos_token_id]) == (tokeniser.pad_token_id,)
    assert never_drawn(tokeniser, ends=[tokeniser.pad_token_id]) == (), "it ends answers, so it may be said"
    tokeniser.pad_token = END
    assert "'<|pad|>', unused in its vocabulary, is taken" in use_known_pad(tokeniser)
    assert tokeniser.pad_token == "<|pad|>"


def test_a_pad_that_the_vocabulary_holds_already_is_taken():
    tokeniser = tiny_tokeniser()
    tokeniser.pad_token = END
    assert not give_pad(tokeniser)
    assert tokeniser.pad_token == "<|pad|>"


def test_a_pad_that_ends_answers_is_replaced():
    tokeniser = tiny_tokeniser()
    assert give_pad(tokeniser, ends=(tokeniser.pad_token_id,))
    assert tokeniser.pad_token_id == len(tokeniser) - 1


def test_the_end_of_turn_ends_an_answer_too(with_template, plain):
    tokeniser = with_template(with_template.chatml)
    turn = tokeniser.convert_tokens_to_ids("<|im_end|>")
    assert end_ids(tokeniser) == tuple(sorted({tokeniser.eos_token_id, turn}))
    assert end_ids(plain) == (plain.eos_token_id,)
    assert end_ids(plain, SimpleNamespace(eos_token_id=[7, 9])) == (plain.eos_token_id, 7, 9)
    assert end_ids(plain, SimpleNamespace(eos_token_id=8)) == (plain.eos_token_id, 8)


def test_a_tokeniser_in_which_nothing_ends_is_refused():
    tokeniser = tiny_tokeniser(chat=False)
    tokeniser.eos_token = None
    with pytest.raises(ModelError, match="no EOS token"):
        end_ids(tokeniser)


def test_special_strings_are_those_read_as_control_tokens(with_template):
    strings = special_strings(with_template(with_template.chatml))
    assert {"<|im_end|>", END, "<|pad|>"} <= set(strings)
    assert strings == sorted(strings, key=lambda text: (-len(text), text))


def test_a_saved_tokeniser_loads(tmp_path, chatty):
    chatty.save_pretrained(tmp_path)
    again = load_tokeniser(tmp_path)
    assert again.chat_template == chatty.chat_template
    assert again(KOREAN).input_ids == chatty(KOREAN).input_ids


def test_a_missing_tokeniser_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no tokeniser"):
        load_tokeniser(tmp_path)
    with pytest.raises(ModelError, match="no tokeniser could be loaded from 'nobody/nothing'"):
        load_tokeniser("nobody/nothing")


def test_a_slow_tokeniser_is_refused(tmp_path, monkeypatch):
    import transformers

    slow = SimpleNamespace(is_fast=False)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *a, **k: slow)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}))
    with pytest.raises(ModelError, match="only a slow tokeniser"):
        load_tokeniser(tmp_path)
