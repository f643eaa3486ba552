"""How prompts reach a model: through its chat template, or as texts that it continues. Each run says it once."""

from collections.abc import Callable, Iterable
from typing import Any

from steersman.data.kinds import answers_of, prompt_of
from steersman.records import Document, Prompt, Record
from steersman.settings.parts import Template
from steersman.text.plain_template import give_template
from steersman.text.rendering import begins_rendered
from steersman.text.template import as_messages, encode_completion, encode_document, encode_prompt

SHOWN = 400
"""Characters of the example that are printed."""


def settle_template(
    template: Template, tokeniser: Any, records: Iterable[Record], notice: Callable[[str], None]
) -> None:
    """Decide how the prompts of a source reach this model, and say it with the first one as the model reads it.

    A model without a chat template gets ours if the prompts are messages, or with template=chat. It is saved with the
    model, so that what is sampled from it later is what was trained.
    """
    first = next(iter(records), None)
    if first is None:
        return  # whoever reads the rows says so
    prompt = prompt_of(first)
    asks = prompt is not None and (bool(prompt.messages) or template == "chat")
    given = asks and give_template(tokeniser)
    ours = "; the model has no chat template and gets Steersman's, which is saved with it" if given else ""
    words = "texts are learned whole, without a chat template" if prompt is None else how_it_is_read(tokeniser, prompt)
    notice(f"{words}{ours}. The first, as the model reads it: {_example(tokeniser, first)!r}")


def how_it_is_read(tokeniser: Any, prompt: Prompt) -> str:
    """A sentence: how this model reads prompts like this one, and why."""
    if prompt.text is None:
        return "prompts are messages in the chat template"
    if as_messages(tokeniser, prompt) is not None:
        return "plain prompts are user messages in the chat template (template=none continues them as they are)"
    if not tokeniser.chat_template:
        return "plain prompts are continued as they are: the model has no chat template"
    if not prompt.continued and begins_rendered(tokeniser, prompt.text):
        return "plain prompts are continued as they are: they begin with a control token, so a template was applied"
    return "plain prompts are continued as they are, without the chat template, as the rows or template=none say"


def _example(tokeniser: Any, record: Record) -> str:
    """The prompt with the answer, if there is one, with all special tokens."""
    prompt, limit = prompt_of(record), 2**31
    if isinstance(record, Document):
        ids = encode_document(tokeniser, record, max_length=limit).ids
    elif prompt is None:
        return str(record)[:SHOWN]
    elif answers := answers_of(record):
        ids = encode_completion(tokeniser, prompt, answers[0], max_length=limit).ids
    else:
        ids = encode_prompt(tokeniser, prompt)
    text = tokeniser.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
