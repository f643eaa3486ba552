"""The chat templates of real families, on tokenisers with their control tokens: what is rendered, what ends a turn, and
what is learned. Nothing is downloaded: the templates stand here, as their repositories have them, without the branches
for tools and images."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from transformers import GenerationConfig  # pyright: ignore[reportAttributeAccessIssue]

from steersman.models.tiny import _tokeniser_json
from steersman.records import Completion, Document, Message, Prompt
from steersman.text.rendering import end_ids
from steersman.text.template import encode_completion, encode_document, encode_prompt
from steersman.text.tokeniser import never_drawn, use_known_pad


@dataclass(frozen=True)
class Family:
    template: str
    control: tuple[str, ...]
    eos: str
    bos: str | None
    adds_bos: bool
    end: str
    """What ends a turn."""
    generation_ends: tuple[str, ...]
    """`eos_token_id` of its generation_config.json."""
    pad: str | None
    asked: str
    """The prompt for one user message."""
    with_system: str
    """The prompt for a system and a user message."""
    two_turns: str
    """The prompt for user, assistant, user."""
    lead: str = ""
    """What stands between prompt and answer, and is learned with it."""


QWEN = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n"
    "    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. "
    "You are a helpful assistant.<|im_end|>\\n' }}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    '    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
    '(message.role == "assistant" and not message.tool_calls) %}\n'
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n"
)
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA32 = (
    "{{- bos_token }}\n"
    "{%- if not date_string is defined %}\n"
    "    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    "    {%- else %}\n"
    '        {%- set date_string = "26 Jul 2024" %}\n'
    "    {%- endif %}\n"
    "{%- endif %}\n"
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {%- set system_message = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n"
    "{%- else %}\n"
    '    {%- set system_message = "" %}\n'
    "{%- endif %}\n"
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}\n'
    '{{- "Cutting Knowledge Date: December 2023\\n" }}\n'
    '{{- "Today Date: " + date_string + "\\n\\n" }}\n'
    "{{- system_message }}\n"
    '{{- "<|eot_id|>" }}\n'
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
    "'<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
    "{%- endif %}\n"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    '{%- if messages[0]["role"] == "system" %}\n'
    '    {%- set system_message = messages[0]["content"] %}\n'
    "    {%- set loop_messages = messages[1:] %}\n"
    "{%- else %}\n"
    "    {%- set loop_messages = messages %}\n"
    "{%- endif %}\n"
    '{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}\n'
    "{%- for message in loop_messages %}\n"
    '    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}\n'
    '        {{- raise_exception("After the optional system message, conversation roles must alternate") }}\n'
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{{- bos_token }}\n"
    "{%- for message in loop_messages %}\n"
    '    {%- if message["role"] == "user" %}\n'
    "        {%- if loop.last and system_message is defined %}\n"
    '            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}\n'
    "        {%- else %}\n"
    '            {{- "[INST] " + message["content"] + "[/INST]" }}\n'
    "        {%- endif %}\n"
    '    {%- elif message["role"] == "assistant" %}\n'
    '        {{- " " + message["content"]|trim + eos_token}}\n'
    "    {%- endif %}\n"
    "{%- endfor %}\n"
)

IM = "<|im_start|>{}\n{}<|im_end|>\n"
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
TURN = "<start_of_turn>{}\n{}"
QWEN_SYSTEM = IM.format("system", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
SMOLLM_SYSTEM = IM.format("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
LLAMA_CONTROL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def today() -> str:
    date = datetime.now().strftime("%d %b %Y")
    return f"Cutting Knowledge Date: December 2023\nToday Date: {date}\n\n"


def chatml(template: str, system: str, eos: str, bos: str | None, *ends: str) -> Family:
    opened = "<|im_start|>assistant\n"
    return Family(
        template,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos=eos,
        bos=bos,
        adds_bos=False,
        end="<|im_end|>",
        generation_ends=ends,
        pad="<|endoftext|>" if bos is None else "<|im_end|>",
        asked=system + IM.format("user", "Hi") + opened,
        with_system=IM.format("system", "Be kind.") + IM.format("user", "Hi") + opened,
        two_turns=system
        + IM.format("user", "Hi")
        + IM.format("assistant", "Hello.")
        + IM.format("user", "Why?")
        + opened,
    )


def headed(template: str, before: str, system: str, *control: str) -> Family:
    user, opened = HEADER.format("user", "Hi") + "<|eot_id|>", HEADER.format("assistant", "")
    return Family(
        template,
        (*LLAMA_CONTROL, *control),
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
        end="<|eot_id|>",
        generation_ends=("<|end_of_text|>", "<|eot_id|>"),
        pad=None,
        asked="<|begin_of_text|>" + before + user + opened,
        with_system="<|begin_of_text|>" + system + user + opened,
        two_turns="<|begin_of_text|>"
        + before
        + user
        + HEADER.format("assistant", "Hello.<|eot_id|>")
        + HEADER.format("user", "Why?<|eot_id|>")
        + opened,
    )


FAMILIES = {
    "Qwen2.5": chatml(QWEN, QWEN_SYSTEM, "<|im_end|>", None, "<|im_end|>", "<|endoftext|>"),
    "SmolLM2": chatml(SMOLLM, SMOLLM_SYSTEM, "<|im_end|>", "<|im_start|>", "<|im_end|>"),
    "Llama-3": headed(LLAMA3, "", HEADER.format("system", "Be kind.<|eot_id|>")),
    "Llama-3.2": headed(
        LLAMA32,
        HEADER.format("system", today() + "<|eot_id|>"),
        HEADER.format("system", today() + "Be kind.<|eot_id|>"),
        "<|finetune_right_pad_id|>",
    ),
    "gemma-2": Family(
        GEMMA,
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
        bos="<bos>",
        adds_bos=True,
        end="<end_of_turn>",
        generation_ends=("<eos>", "<end_of_turn>"),
        pad="<pad>",
        asked="<bos>" + TURN.format("user", "Hi<end_of_turn>\n") + TURN.format("model", ""),
        with_system="<bos>" + TURN.format("user", "Be kind.\n\nHi<end_of_turn>\n") + TURN.format("model", ""),
        two_turns="<bos>"
        + TURN.format("user", "Hi<end_of_turn>\n")
        + TURN.format("model", "Hello.<end_of_turn>\n")
        + TURN.format("user", "Why?<end_of_turn>\n")
        + TURN.format("model", ""),
    ),
    "Mistral-v0.3": Family(
        MISTRAL,
        ("<s>", "</s>", "[INST]", "[/INST]"),
        eos="</s>",
        bos="<s>",
        adds_bos=True,
        end="</s>",
        generation_ends=("</s>",),
        pad=None,
        asked="<s>[INST] Hi[/INST]",
        with_system="<s>[INST] Be kind.\n\nHi[/INST]",
        two_turns="<s>[INST] Hi[/INST] Hello.</s>[INST] Why?[/INST]",
        lead=" ",
    ),
}
SYSTEM, HI, HELLO, WHY = (
    Message("system", "Be kind."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("user", "Why?"),
)


def tokeniser_of(family: Family) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(_tokeniser_json(400, False, family.control))
    if family.adds_bos:
        assert family.bos is not None
        backend.post_processor = TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, backend.token_to_id(family.bos))]
        )
    tokeniser = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=family.eos, bos_token=family.bos, pad_token=family.pad
    )
    tokeniser.chat_template = family.template
    return tokeniser


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def tokeniser(family: Family) -> Any:
    return tokeniser_of(family)


def shown(tokeniser: Any, ids: Any) -> str:
    return tokeniser.decode(list(ids), skip_special_tokens=False)


def learned(tokeniser: Any, row: Any) -> str:
    return shown(tokeniser, [i for i, on in zip(row.ids, row.loss, strict=True) if on])


def test_prompts_are_rendered_as_the_family_was_trained(family: Family, tokeniser: Any):
    expected = {(HI,): family.asked, (SYSTEM, HI): family.with_system, (HI, HELLO, WHY): family.two_turns}
    for messages, text in expected.items():
        ids = encode_prompt(tokeniser, Prompt(messages))
        assert shown(tokeniser, ids) == text
        # each control token is one id, and not its letters
        assert tokeniser.convert_tokens_to_ids(family.end) in ids or family.end not in text
    # a plain text is a user's message
    assert encode_prompt(tokeniser, Prompt(text="Hi")) == encode_prompt(tokeniser, Prompt((HI,)))


def test_ids_are_those_of_transformers(family: Family, tokeniser: Any):
    messages = [{"role": m.role, "content": m.content} for m in (HI, HELLO, WHY)]
    expected = tokeniser.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(tokeniser, Prompt((HI, HELLO, WHY))) == list(expected)


def test_a_prompt_is_rendered_once_and_has_one_bos(family: Family, tokeniser: Any):
    plain = encode_prompt(tokeniser, Prompt((HI,)))
    assert encode_prompt(tokeniser, Prompt(text=family.asked)) == plain, "a text that is rendered already stays"
    if family.adds_bos:
        assert plain.count(tokeniser.bos_token_id) == 1
        without = family.asked.removeprefix(str(family.bos))
        assert encode_prompt(tokeniser, Prompt(text=without)) == plain, "where BOS was cut off, it is put back"
        assert encode_document(tokeniser, Document("Hi"), max_length=50).ids.count(tokeniser.bos_token_id) == 1


def test_the_reply_and_the_end_of_its_turn_are_learned_and_nothing_else(family: Family, tokeniser: Any):
    row = encode_completion(tokeniser, Prompt((SYSTEM, HI)), Completion("A dog."), max_length=200)
    assert shown(tokeniser, row.ids) == f"{family.with_system}{family.lead}A dog.{family.end}"
    assert learned(tokeniser, row) == f"{family.lead}A dog.{family.end}"
    assert row.ids[-1] == tokeniser.convert_tokens_to_ids(family.end)
    assert row.prompt_length == len(encode_prompt(tokeniser, Prompt((SYSTEM, HI))))


def test_every_turn_of_the_assistant_is_learned_with_its_end(family: Family, tokeniser: Any):
    prompt = Prompt((HI, HELLO, WHY))
    row = encode_completion(tokeniser, prompt, Completion("A dog."), max_length=200, loss_on="assistant")
    turns = [one.strip() for one in learned(tokeniser, row).split(family.end)]
    assert turns == ["Hello.", "A dog.", ""]


def test_generation_ends_with_the_turn(family: Family, tokeniser: Any):
    declared = tokeniser.convert_tokens_to_ids(list(family.generation_ends))
    ends = end_ids(tokeniser, GenerationConfig(eos_token_id=declared))
    assert set(ends) == {*declared, tokeniser.convert_tokens_to_ids(family.end), tokeniser.eos_token_id}
    # also where generation_config.json is missing, or names EOS only
    assert tokeniser.convert_tokens_to_ids(family.end) in end_ids(tokeniser)


def test_padding_takes_no_token_with_a_meaning(family: Family, tokeniser: Any):
    ends = end_ids(
        tokeniser, GenerationConfig(eos_token_id=tokeniser.convert_tokens_to_ids(list(family.generation_ends)))
    )
    before = len(tokeniser)
    use_known_pad(tokeniser)
    assert len(tokeniser) == before
    assert not {*never_drawn(tokeniser, ends)} & {*ends}


def test_words_of_a_user_are_no_control_tokens(family: Family, tokeniser: Any):
    nasty = f"say {family.end} and {family.control[0]}"
    ids = encode_prompt(tokeniser, Prompt((Message("user", nasty),)))
    assert nasty in shown(tokeniser, ids)
    usual = encode_prompt(tokeniser, Prompt((HI,)))
    for control in family.control:
        one = tokeniser.convert_tokens_to_ids(control)
        assert ids.count(one) == usual.count(one)


def test_what_follows_the_end_of_a_turn_is_in_the_next_prompt(family: Family, tokeniser: Any):
    """A conversation's second prompt begins with the first prompt and its answer, to the last id."""
    first = encode_completion(tokeniser, Prompt((HI,)), Completion("Hello."), max_length=200)
    second = encode_prompt(tokeniser, Prompt((HI, HELLO, WHY)))
    assert tuple(second[: len(first.ids)]) == first.ids
