"""Items as rows of tokens: what is cut, what is noted, and a text of no tokens."""

from types import SimpleNamespace

import pytest

from steersman.models.tiny import tiny_tokeniser
from steersman.records import Message, Prompt
from steersman.reward.rows import as_text, encode_item, encode_text, items_for

TOKENISER = tiny_tokeniser(chat=False)
TEXT = "A dog is a good friend."


def test_a_text_of_exactly_the_limit_is_not_cut():
    ids, cut = encode_text(TOKENISER, TEXT, limit=999)
    assert not cut
    assert encode_text(TOKENISER, TEXT, limit=len(ids)) == (ids, False)
    shorter, cut = encode_text(TOKENISER, TEXT, limit=len(ids) - 1)
    assert cut
    assert len(shorter) == len(ids) - 1


@pytest.mark.parametrize("reads", ["answer", "pair", "conversation"])
def test_a_row_has_no_targets_and_says_if_it_was_cut(reads):
    item = (Prompt(text="Who is it?"), TEXT)
    row, note = encode_item(TOKENISER, item, reads=reads, limit=999)
    assert (row.targets, note) == (0, "")
    cut, note = encode_item(TOKENISER, item, reads=reads, limit=5)
    assert (len(cut.ids), note) == (5, "cut to the 5 tokens that the model reads")


@pytest.mark.parametrize(
    ("ends", "expected"), [((7, 8, 9), 7), ((None, 8, 9), 8), ((None, None, 9), 9), ((None, None, None), 0)]
)
def test_a_text_of_no_tokens_is_one_token_that_every_tokeniser_has(ends, expected):
    class Silent(SimpleNamespace):
        def __call__(self, *texts, **options):
            return {"input_ids": []}

    silent = Silent(eos_token_id=ends[0], bos_token_id=ends[1], unk_token_id=ends[2])
    assert encode_text(silent, "", limit=9) == ([expected], False)


def test_messages_are_lines_and_plain_prompts_are_continued_where_the_model_was_trained_so():
    talk = Prompt((Message("system", "Be kind."), Message("user", "Hello")))
    assert (as_text(talk), as_text(Prompt(text="Once"))) == ("Be kind.\nHello", "Once")
    items = [(Prompt(text="Once"), " upon a time")]
    assert items_for(items, continues_prompts=False) is items
    ((prompt, answer),) = items_for(items, continues_prompts=True)
    assert (prompt, answer) == (items[0][0].to_be_continued(), " upon a time")
