"""Plain prompts: through the template of a model that has one, continued by a model that has none, and as their rows
say."""

import json

import pytest

from steersman.data.load import load_records
from steersman.models.tiny import tiny_tokeniser
from steersman.records import Completion, Demonstration, Message, Prompt, from_dict, to_dict
from steersman.text.plain_template import give_template
from steersman.text.template import encode_completion, encode_prompt

CHATTY, BARE = tiny_tokeniser(), tiny_tokeniser(chat=False)
PLAIN, ASKED = Prompt(text="What is cricket?"), Prompt(messages=(Message("user", "What is cricket?"),))


def test_a_plain_prompt_is_a_user_message_to_a_model_with_a_template():
    assert encode_prompt(CHATTY, PLAIN) == encode_prompt(CHATTY, ASKED)
    answer = Completion("A game.")
    one, two = (encode_completion(CHATTY, prompt, answer, max_length=99) for prompt in (PLAIN, ASKED))
    assert one == two
    assert CHATTY.decode(one.ids) == "<|user|>What is cricket?\n<|assistant|>A game.<|end|>"


def test_a_model_without_a_template_continues_it():
    assert BARE.decode(encode_prompt(BARE, PLAIN)) == "What is cricket?"


def test_a_text_that_says_so_is_continued_by_every_model():
    prompt = Prompt(text="Once upon a time", continued=True)
    assert CHATTY.decode(encode_prompt(CHATTY, prompt)) == "Once upon a time"


def test_control_tokens_in_a_plain_prompt_are_plain_characters_unless_it_begins_with_one():
    inside = encode_prompt(CHATTY, Prompt(text="Say <|end|> to me"))
    assert inside.count(CHATTY.eos_token_id) == 0
    rendered = "<|system|>Be kind.\n<|user|>Hi\n<|assistant|>"
    assert CHATTY.decode(encode_prompt(CHATTY, Prompt(text=rendered))) == rendered


def test_ours_is_given_to_a_model_without_a_template_and_is_what_such_a_model_was_rendered_with():
    bare = tiny_tokeniser(chat=False)
    before = encode_prompt(bare, ASKED)
    assert give_template(bare)
    assert not give_template(bare)
    assert encode_prompt(bare, ASKED) == encode_prompt(bare, PLAIN) == before
    assert not give_template(tiny_tokeniser())


@pytest.mark.parametrize("said", [True, "true", 1, "yes"])
@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Once upon"},
        {"prompt": "Once upon", "completion": " a time"},
        {"prompt": "Once upon", "chosen": " a time", "rejected": " a tree"},
        to_dict(Demonstration(Prompt(text="Once upon"), Completion(" a time"))),
    ],
)
def test_a_row_of_any_format_may_say_continue(row, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**row, "continue": said}) + "\n" + json.dumps(row) + "\n")
    continued, plain = load_records(str(path), strict=True)
    prompts = [one if isinstance(one, Prompt) else one.prompt for one in (continued, plain)]  # type: ignore[union-attr]
    assert [prompt.continued for prompt in prompts] == [True, False]
    assert prompts[0].id == prompts[1].id  # the held-out share is the same


def test_a_column_of_a_table_may_say_continue(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,continue\nOnce upon,true\nWhat is cricket?,false\n")
    assert [prompt.continued for prompt in load_records(str(path), strict=True)] == [True, False]  # type: ignore[union-attr]


def test_what_is_no_answer_to_continue_makes_the_row_a_bad_one(tmp_path):
    from steersman.data.load import ReadReport

    path, report = tmp_path / "rows.jsonl", ReadReport()
    path.write_text(json.dumps({"prompt": "Once", "continue": "perhaps"}) + "\n")
    assert list(load_records(str(path), report=report)) == []
    assert report.malformed == 1
    assert "continue" in next(iter(report.reasons))


def test_a_record_keeps_it():
    prompt = Prompt(text="Once", continued=True)
    assert from_dict(to_dict(prompt)) == prompt
    assert "continued" not in to_dict(Prompt(text="Once"))
    assert Prompt(text="Once").to_be_continued() == prompt
    assert ASKED.to_be_continued() is ASKED
