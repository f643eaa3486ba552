"""Prompts, conversations and documents as token ids, with a loss mask.

The invariant: a prompt's ids are exactly what generation starts from, and an answer's ids follow them. So training,
scoring and sampling see the same tokens. `Encoded` reports truncation and the loss mask; the caller decides what to do
with a truncated row.

A plain prompt (`Prompt.text`) is a user message to a model with a chat template (see `as_messages`), and is continued
by a model without one.

Message text never becomes control tokens: "<|im_end|>" inside a message is tokenised as plain characters. The
exceptions are a plain prompt that is continued, which may be a rendered template, and what `encode_prompt` is told.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steersman.errors import ModelError
from steersman.records import Completion, Demonstration, Document, Message, Messages, Prompt
from steersman.text.rendering import (
    Passage,
    Rendered,
    begins_rendered,
    end_of_turn,
    guard,
    join,
    render_conversation,
    tokenise,
)
from steersman.text.tokeniser import Tokeniser, cut, cut_left, decode

LossOn = Literal["answer", "assistant", "all"]
Truncate = Literal["right", "left"]

__all__ = [
    "Encoded",
    "as_messages",
    "decode",
    "encode_completion",
    "encode_continuations",
    "encode_demonstration",
    "encode_document",
    "encode_prompt",
    "end_of_turn",
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and their loss mask (True for training targets). `truncated` says that the row was cut to fit."""

    ids: tuple[int, ...]
    loss: tuple[bool, ...]
    prompt_length: int
    truncated: bool

    @property
    def targets(self) -> int:
        return sum(self.loss)


def as_messages(tokeniser: Tokeniser, prompt: Prompt) -> Messages | None:
    """The messages that this model reads as the prompt; None for a plain text that it continues.

    A text is continued if it says so, if the model has no chat template, or if it begins with a control token: then a
    template has been applied already.
    """
    if prompt.text is None:
        return prompt.messages
    if prompt.continued or not tokeniser.chat_template or begins_rendered(tokeniser, prompt.text):
        return None
    return (Message("user", prompt.text),)


def encode_prompt(
    tokeniser: Tokeniser, prompt: Prompt, *, control: Collection[str] = (), tools: Sequence[Any] = ()
) -> list[int]:
    """The prompt's token ids, as generation starts from them. Never empty.

    `control` are strings in its messages that are encoded as control tokens: whoever names them has made sure that
    they are in no text of others. `tools` are handed to the chat template, which must know what to do with them."""
    if tools and not takes_tools(tokeniser):
        raise ModelError("the model's chat template takes no tools; leave them out, or describe them in a message")
    return _start(tokeniser, prompt, find_turns=False, control=control, tools=tools).ids


def takes_tools(tokeniser: Tokeniser) -> bool:
    """Whether the chat template reads tools."""
    template = tokeniser.chat_template
    texts = template.values() if isinstance(template, dict) else [template or ""]
    return any("tools" in text for text in texts)


def encode_demonstration(
    tokeniser: Tokeniser,
    demonstration: Demonstration,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> Encoded:
    """A demonstration as a training row; see `encode_completion`."""
    return encode_completion(
        tokeniser,
        demonstration.prompt,
        demonstration.completion,
        max_length=max_length,
        loss_on=loss_on,
        truncate=truncate,
    )


def encode_completion(
    tokeniser: Tokeniser,
    prompt: Prompt,
    completion: Completion,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> Encoded:
    """A prompt and an answer to it as one row.

    `loss_on`: the final answer; every assistant turn; or all tokens. A turn includes its end-of-turn token.
    `truncate`: "right" keeps the beginning of the row, "left" keeps the end of the prompt (after BOS) and the beginning
    of the answer. If the prompt alone fills the row, no targets are left and `targets` is 0.
    """
    start = _start(tokeniser, prompt, find_turns=loss_on == "assistant")
    prompt_ids = start.ids
    answer = _answer(tokeniser, start, completion.text)
    learned = [True] * len(prompt_ids) if loss_on == "all" else start.by_assistant
    fits = len(prompt_ids) + len(answer) <= max_length
    if not fits and truncate == "left":
        bos = prompt_ids[:1] if prompt_ids[:1] == [tokeniser.bos_token_id] else []
        room = max(0, max_length - len(answer) - len(bos))
        kept = cut_left(tokeniser, prompt_ids[len(bos) :], room) if room else []
        # At least one token must precede the answer, or its first token could not be a target.
        kept = kept or prompt_ids[-1:]
        learned = [False] * len(bos) + learned[len(prompt_ids) - len(kept) :]
        prompt_ids = bos + kept
    ids = prompt_ids + answer
    loss = [*learned, *([True] * len(answer))]
    if len(ids) > max_length:
        ids = cut(tokeniser, ids, max_length)
    return Encoded(tuple(ids), (False, *loss[1 : len(ids)]), min(len(prompt_ids), len(ids)), not fits)


def encode_continuations(
    tokeniser: Tokeniser, prompt: Prompt, texts: Sequence[str], *, control: Collection[str] = ()
) -> tuple[list[int], list[list[int]]]:
    """The prompt's ids, and those of several beginnings of an answer to it, none of which ends the answer.

    `control` as in `encode_prompt`."""
    start = _start(tokeniser, prompt, find_turns=False, control=control)
    found: list[list[int]] = []
    for text in texts:
        lead = "" if text[:1].isspace() else start.rendered.lead
        found.append(_continued(tokeniser, start, join(guard(tokeniser, text).reveal(), before=lead)))
    return start.ids, found


def encode_document(tokeniser: Tokeniser, document: Document, *, max_length: int) -> Encoded:
    """A document as one training row: every token is a target. It ends with EOS unless it was cut."""
    ids = _bos(tokeniser) + tokenise(tokeniser, guard(tokeniser, document.text).reveal())[0]
    if tokeniser.eos_token_id is not None:
        ids.append(tokeniser.eos_token_id)
    kept = cut(tokeniser, ids, max_length) if len(ids) > max_length else ids
    return Encoded(tuple(kept), (False, *[True] * (len(kept) - 1)) if kept else (), 0, len(kept) < len(ids))


def _bos(tokeniser: Tokeniser) -> list[int]:
    """The BOS id in a list, if this tokeniser adds BOS to plain text; else an empty list."""
    starts = tokeniser("a").input_ids[:1] == [tokeniser.bos_token_id]
    return [tokeniser.bos_token_id] if starts and tokeniser.bos_token_id is not None else []


@dataclass(frozen=True, slots=True)
class _Start:
    """An encoded prompt. `ids` may begin with an added BOS (or, if the prompt is empty, consist of one token);
    `rendered_ids` is without it. `by_assistant` marks tokens of earlier assistant turns."""

    ids: list[int]
    rendered_ids: list[int]
    by_assistant: list[bool]
    rendered: Rendered


def _start(
    tokeniser: Tokeniser,
    prompt: Prompt,
    *,
    find_turns: bool,
    control: Collection[str] = (),
    tools: Sequence[Any] = (),
) -> _Start:
    """The encoded prompt. Assistant turns are marked only with `find_turns`."""
    messages = as_messages(tokeniser, prompt)
    if messages is not None:
        rendered = render_conversation(tokeniser, messages, find_turns=find_turns, control=control, tools=tools)
    else:
        rendered = Rendered.of_text(prompt.text or "")
    rendered_ids, offsets = tokenise(tokeniser, rendered.prompt)
    by_assistant = [any(a < end and b > start for start, end in rendered.spans) for a, b in offsets]
    ids = list(rendered_ids)
    bos = _bos(tokeniser) if messages is None else []
    if ids[:1] != bos:
        ids, by_assistant = bos + ids, [False] * len(bos) + by_assistant
    if not ids:
        first = next((i for i in (tokeniser.bos_token_id, tokeniser.eos_token_id) if i is not None), None)
        if first is None:
            raise ModelError("an empty prompt needs a BOS or EOS token to start from, but this tokeniser has neither")
        ids, by_assistant = [first], [False]
    return _Start(ids, rendered_ids, by_assistant, rendered)


def _answer(tokeniser: Tokeniser, start: _Start, text: str) -> list[int]:
    rendered = start.rendered
    lead = "" if text[:1].isspace() else rendered.lead
    ids = _continued(tokeniser, start, join(guard(tokeniser, text).reveal(), before=lead, after=rendered.tail))
    if rendered.tail_ends_turn:
        return ids
    if tokeniser.eos_token_id is None:
        raise ModelError(
            "nothing ends an answer: the chat template has no end-of-turn token and the tokeniser no EOS; "
            "add one: tokenizer.add_special_tokens({'eos_token': '<|end|>'})"
        )
    return [*ids, tokeniser.eos_token_id]


def _continued(tokeniser: Tokeniser, start: _Start, answer: Passage) -> list[int]:
    """The ids of what follows a prompt. Both are tokenised together, as one text. If that merges the last prompt token
    with the first answer token, the answer is tokenised alone: generation cannot change prompt tokens either."""
    whole, _ = tokenise(tokeniser, join(start.rendered.prompt, answer))
    length = len(start.rendered_ids)
    return whole[length:] if whole[:length] == start.rendered_ids else tokenise(tokeniser, answer)[0]
