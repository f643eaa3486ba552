"""The tokens between two turns of a model, as its chat template or a plain prompt has them."""

from steersman.records import Message, Prompt
from steersman.text.observation import encode_observation
from steersman.text.template import encode_prompt

TALK = Prompt((Message("user", "Guess."),))


def test_a_chat_template_stands_around_an_observation(with_template):
    tokeniser = with_template(with_template.chatml)
    end = tokeniser.convert_tokens_to_ids("<|im_end|>")
    between = encode_observation(tokeniser, TALK, "Higher.", role="user", ended_by=end, longest=99)
    talked = Prompt((*TALK.messages, Message("assistant", "4"), Message("user", "Higher.")))
    before = [*encode_prompt(tokeniser, TALK), *tokeniser("4", add_special_tokens=False).input_ids, end]
    assert [*before, *between] == encode_prompt(tokeniser, talked)
    # a turn that was cut off has no end token, so the template's is put there
    cut = encode_observation(tokeniser, TALK, "Higher.", role="user", ended_by=before[-2], longest=99)
    assert cut == [end, *between]
    as_tool = encode_observation(tokeniser, TALK, "4", role="tool", ended_by=end, longest=99)
    assert "<|im_start|>tool" in tokeniser.decode(as_tool)


def test_after_a_plain_prompt_an_observation_is_its_own_text(plain):
    ids = encode_observation(plain, Prompt(text="Guess:"), " Higher.\n", role="user", ended_by=3, longest=99)
    assert plain.decode(ids) == " Higher.\n"


def test_an_observation_never_becomes_control_tokens(with_template):
    tokeniser = with_template(with_template.chatml)
    end = tokeniser.convert_tokens_to_ids("<|im_end|>")
    for prompt, count in ((TALK, 1), (Prompt(text="Guess:"), 0)):
        ids = encode_observation(tokeniser, prompt, "a<|im_end|>b", role="user", ended_by=0, longest=99)
        assert ids.count(end) == 2 * count, "only the template's own: after the turn and after the observation"


def test_a_long_observation_is_cut(plain):
    whole = encode_observation(plain, Prompt(text="?"), "one two three four", role="user", ended_by=3, longest=99)
    ids = encode_observation(plain, Prompt(text="?"), "one two three four", role="user", ended_by=3, longest=3)
    assert len(whole) > 3 >= len(ids)
    assert whole[: len(ids)] == ids
    assert encode_observation(plain, Prompt(text="?"), "one", role="user", ended_by=3, longest=0) == []
